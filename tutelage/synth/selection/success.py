"""Rows that the model solves sometimes: always solved teaches nothing, never solved is often wrong (LIMO, s1)."""

from __future__ import annotations

import numpy as np

from tutelage.synth.selection.candidates import Candidates, Decision, best


def select(candidates: Candidates) -> Decision:
    """The lowest success rates above 0 and below 1, over samples of the model."""
    rates = candidates.successes()
    reasons = {int(row): "always solved" for row in np.flatnonzero(rates == 1)}
    reasons |= {int(row): "never solved" for row in np.flatnonzero(rates == 0)}
    return best(-rates, candidates.keep, reasons)
