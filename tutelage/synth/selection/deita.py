"""Deita: complexity times quality, down the ranking, skipping what is near a kept row (2312.15685, section 2)."""

from __future__ import annotations

import numpy as np

from tutelage.synth.selection.candidates import Candidates, Decision

NEAR = 0.9  # cosine similarity from which a row adds nothing
COMPLEXITY = "how complex is the request: how many steps, constraints and pieces of knowledge does it need?"
QUALITY = "how good is the answer: is it helpful, relevant, exact, deep and detailed?"


def select(candidates: Candidates) -> Decision:
    """A row without a score is left out, and not ranked in the middle as the released code does."""
    scores = candidates.scores(COMPLEXITY) * candidates.scores(QUALITY)
    vectors = candidates.embeddings()
    decision = Decision(dropped={int(row): "no score" for row in np.flatnonzero(np.isnan(scores))})
    for row in np.argsort(-scores, kind="stable").tolist():
        if row in decision.dropped or len(decision.kept) == candidates.keep:
            continue
        if decision.kept and (vectors[list(decision.kept)] @ vectors[row]).max() >= NEAR:
            decision.dropped[row] = "near a better row"
        else:
            decision.kept[row] = float(scores[row])
    return decision
