"""What a judge calls hard, without what is easy and without poor answers: hard rows are often wrong (Llama 4)."""

from __future__ import annotations

import numpy as np

from tutelage.synth.selection.candidates import Candidates, Decision, best
from tutelage.synth.selection.deita import COMPLEXITY, QUALITY

EASY, POOR = 2, 3  # of 6 points: requests up to the first are easy, answers up to the second poor


def select(candidates: Candidates) -> Decision:
    """The highest complexity among rows that are neither easy nor poor."""
    complexity, quality = candidates.scores(COMPLEXITY), candidates.scores(QUALITY)
    reasons = {int(row): "easy" for row in np.flatnonzero(complexity <= EASY)}
    reasons |= {int(row): "poor answer" for row in np.flatnonzero(quality <= POOR)}
    return best(np.where(np.isnan(quality), np.nan, complexity), candidates.keep, reasons)
