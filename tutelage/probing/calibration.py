"""Whether a model's confidence is its accuracy, and how its knowledge is spread over classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from tutelage.evaluate.knowledge_categories import CATEGORIES
from tutelage.probing.probe import CLASSES, Probed

BINS = 10


def calibration(probed: Sequence[Probed]) -> dict[str, Any]:
    """Accuracy against confidence, the share of samples that give the most frequent answer, over BINS bins of equal
    width, and the expected calibration error: the mean of |accuracy - confidence| weighted by the questions of a bin
    (Naeini et al. 2015). Questions that the model mostly abstains from, or that nobody can answer, are left out."""
    pairs = []
    for item in probed:
        answer, confidence = item.most_common
        if item.question.gold is not None and answer.outcome in ("right", "wrong"):
            pairs.append((confidence, answer.outcome == "right"))
    bins: list[dict[str, float]] = []
    error = 0.0
    for place in range(BINS):
        inside = [pair for pair in pairs if min(BINS - 1, int(pair[0] * BINS)) == place]
        if inside:
            confidence = sum(pair[0] for pair in inside) / len(inside)
            accuracy = sum(pair[1] for pair in inside) / len(inside)
            error += abs(accuracy - confidence) * len(inside) / len(pairs)
            bins.append({"confidence": confidence, "accuracy": accuracy, "questions": len(inside)})
    return {"expected_error": error, "bins": bins, "questions": len(pairs)}


def class_counts(probed: Sequence[Probed]) -> dict[str, dict[str, int]]:
    """How many questions are of each class, and of each category of Gekhman et al."""
    classes = Counter(item.knowledge for item in probed)
    categories = Counter(item.category for item in probed)
    return {
        "classes": {name: classes[name] for name in CLASSES},
        "categories": {name: categories[name] for name in CATEGORIES},
    }
