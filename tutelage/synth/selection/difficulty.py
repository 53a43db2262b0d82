"""Hard rows by the model's own loss, without the hardest: wrong rows are the hardest of all (Llama 4; pruning)."""

from __future__ import annotations

import numpy as np

from tutelage.synth.selection.candidates import Candidates, Decision, best

EASY, HARDEST = 0.5, 0.95  # quantiles of the loss: rows below the first are easy, above the last mostly wrong


def select(candidates: Candidates) -> Decision:
    """The highest losses between two quantiles."""
    losses = candidates.losses()
    low, high = np.nanquantile(losses, [EASY, HARDEST])
    reasons = {int(row): "easy" for row in np.flatnonzero(losses < low)}
    reasons |= {int(row): "hardest, often wrong" for row in np.flatnonzero(losses > high)}
    return best(losses, candidates.keep, reasons)
