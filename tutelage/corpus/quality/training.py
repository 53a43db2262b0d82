"""Small models that score documents, trained once from files, and how far each can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tutelage.corpus.quality.agreement import area
from tutelage.corpus.quality.classifier import train_classifier
from tutelage.corpus.quality.distil import FEWEST, FOLDS, Agreement, distil
from tutelage.corpus.quality.sources import read_scores, read_texts

_CHANCE = "it may tell texts apart no better than chance: do not use it"


def train_from_scores(paths: Sequence[str], out: Path, threshold: float) -> dict[str, Any]:
    """Writes a model of a judge's scores; gives how far it agrees with them about texts that it did not learn from, and
    what is not to be said of it.

    Raises:
        ValueError: the scores cannot be used; or there are too few, or they are all the same.
    """
    texts, scores = read_scores(paths)
    model, found = distil(texts, scores, threshold)
    model.save(out)
    return {"model": out, "texts": len(texts), **found.to_dict(), "warnings": _warnings(found)}


def _warnings(found: Agreement) -> list[str]:
    if found.area is None or found.f1 is None or found.f1_of_all is None:
        return [f"the judge put all texts on one side of {found.threshold:g}: of keeping by it nothing can be said"]
    if found.area.low <= 0.5:
        return [_CHANCE]
    if found.f1.low <= found.f1_of_all:
        return [f"keeping from {found.threshold:g} on may agree with the judge no better than keeping everything"]
    return []


def train_from_kinds(positives: Sequence[str], negatives: Sequence[str], out: Path) -> dict[str, Any]:
    """Writes a classifier that tells texts as they are wanted from others; gives how well it tells apart those of each
    fifth after learning from the rest.

    Raises:
        ValueError: there is no text, or too little to check by what was learned.
    """
    good = list(dict.fromkeys(read_texts(positives, "positives")))
    bad = list(dict.fromkeys(read_texts(negatives, "negatives")))
    if both := set(good) & set(bad):
        raise ValueError(f"{len(both):,} texts stand in positives and in negatives; take them out of one of the two")
    if min(len(good), len(bad)) < FEWEST // 2:
        told = f"{len(good):,} positives and {len(bad):,} negatives are too few to learn from and to check it by"
        raise ValueError(f"{told}; give at least {FEWEST // 2} of each")
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
    return {"model": out, "texts": len(scores), "area": found._asdict(), "warnings": warnings}


def _rows(texts: Sequence[str], chosen: np.ndarray) -> list[str]:
    return [texts[i] for i in np.flatnonzero(chosen).tolist()]
