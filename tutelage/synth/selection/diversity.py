"""Rows far from each other: each next one is the farthest from those that are kept (k-center, 1708.00489)."""

from __future__ import annotations

import numpy as np

from tutelage.synth.selection.candidates import Candidates, Decision


def select(candidates: Candidates) -> Decision:
    """By cosine distance of embeddings, from a random row on."""
    vectors = candidates.embeddings()
    kept: dict[int, float] = {}
    row = candidates.random("first").randbelow(len(vectors))
    nearest = np.full(len(vectors), np.inf)
    while len(kept) < min(candidates.keep, len(vectors)):
        kept[row] = float(min(nearest[row], 2.0))
        nearest = np.minimum(nearest, 1 - vectors @ vectors[row])
        nearest[row] = -np.inf
        row = int(nearest.argmax())
    return Decision(kept)
