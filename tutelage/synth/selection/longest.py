"""The longest answers (2402.04833): a hard baseline for other selections. Judges like length; grade by truth."""

from __future__ import annotations

import numpy as np

from tutelage.synth.selection.candidates import Candidates, Decision, answers, best


def select(candidates: Candidates) -> Decision:
    """By the words of all answers."""
    words = [sum(len(text.split()) for text in answers(row)) for row in candidates.rows]
    return best(np.array(words, float), candidates.keep)
