"""Trains small scoring models from files (`tutelage scorer`) and measures their agreement with the training labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tutelage.corpus.quality.agreement import area
from tutelage.corpus.quality.classifier import train_classifier
from tutelage.corpus.quality.distil import FEWEST, FOLDS, Agreement, distil
from tutelage.corpus.quality.sources import read_scores, read_texts

_CHANCE = "its AUC is not above chance: do not use it"


def train_from_scores(paths: Sequence[str], out: Path, threshold: float) -> dict[str, Any]:
    """Train a model on the scores of a judge and write it. Returns its agreement with held-out scores, and warnings.

    Raises:
        ValueError: the scores are invalid, too few or all the same.
    """
    texts, scores = read_scores(paths)
    model, found = distil(texts, scores, threshold)
    model.save(out)
    return {"model": out, "texts": len(texts), **found.to_dict(), "warnings": _warnings(found)}


def _warnings(found: Agreement) -> list[str]:
    if found.auc is None or found.f1 is None or found.f1_keep_all is None:
        return [f"the judge put all texts on one side of {found.threshold:g}: this threshold cannot be evaluated"]
    if found.auc.low <= 0.5:
        return [_CHANCE]
    if found.f1.low <= found.f1_keep_all:
        return [f"F1 at threshold {found.threshold:g} is not above the F1 of keeping everything"]
    return []


def train_from_classes(positives: Sequence[str], negatives: Sequence[str], out: Path) -> dict[str, Any]:
    """Train a classifier on positive and negative texts and write it. Returns its AUC in cross-validation.

    Raises:
        ValueError: there are no texts, or too few to validate.
    """
    good = list(dict.fromkeys(read_texts(positives, "positives")))
    bad = list(dict.fromkeys(read_texts(negatives, "negatives")))
    if both := set(good) & set(bad):
        raise ValueError(f"{len(both):,} texts are in both positives and negatives; remove them from one of the two")
    if min(len(good), len(bad)) < FEWEST // 2:
        counts = f"{len(good):,} positives and {len(bad):,} negatives are too few to train and validate a classifier"
        raise ValueError(f"{counts}; give at least {FEWEST // 2} of each")
    scores = np.empty(len(good) + len(bad))
    draw = np.random.default_rng(0)
    folds = [draw.permutation(np.arange(len(texts)) % FOLDS) for texts in (good, bad)]
    for fold in range(FOLDS):
        learned = train_classifier(_rows(good, folds[0] != fold), _rows(bad, folds[1] != fold))
        inside = np.concatenate(folds) == fold
        scores[inside] = learned.score(_rows([*good, *bad], inside))
    train_classifier(good, bad).save(out)
    found = area(scores, np.arange(len(scores)) < len(good))
    warnings = [_CHANCE] if found.low <= 0.5 else []
    return {"model": out, "texts": len(scores), "auc": found._asdict(), "warnings": warnings}


def _rows(texts: Sequence[str], chosen: np.ndarray) -> list[str]:
    return [texts[i] for i in np.flatnonzero(chosen).tolist()]
