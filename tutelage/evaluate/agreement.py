"""How far several people, or judges, agree: Krippendorff's alpha, Fleiss' kappa, Cohen's kappa.

Shapes: N items, C coders, K categories.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

Level = Literal["nominal", "ordinal", "interval", "ratio"]


def krippendorff_alpha(values_NC: np.ndarray, level: Level = "nominal") -> float:
    """Krippendorff's alpha: 1 is agreement, 0 is what chance gives (Krippendorff 2011, "Computing Krippendorff's
    Alpha-Reliability", section C).

    values_NC: float, NaN where a coder did not code a unit. A unit with fewer than two values tells nothing.
    level:     how far two values are apart: not at all or fully, by ranks, by difference, or by ratio.

    Raises:
        ValueError: no unit has two values, or all values are equal.
    """
    units = [row[~np.isnan(row)] for row in values_NC]
    units = [unit for unit in units if len(unit) > 1]
    if not units:
        raise ValueError("agreement needs an item that at least two coders coded")
    values_K = np.unique(np.concatenate(units))
    return alpha_of(coincidences(units, values_K), values_K, level)


def coincidences(units: Sequence[np.ndarray], values_K: np.ndarray) -> np.ndarray:
    """Ordered pairs of values inside of units, [K, K]; each unit, of two values or more, counts as its number of
    values."""
    counts_NK = np.stack([(unit[:, None] == values_K).sum(0) for unit in units]).astype(float)
    scaled_NK = counts_NK / (counts_NK.sum(1) - 1)[:, None]
    return counts_NK.T @ scaled_NK - np.diag(scaled_NK.sum(0))


def alpha_of(pairs_KK: np.ndarray, values_K: np.ndarray, level: Level) -> float:
    """Krippendorff's alpha from the coincidences of values.

    Raises:
        ValueError: all values are equal.
    """
    totals_K = pairs_KK.sum(1)
    if (totals_K > 0).sum() < 2:
        raise ValueError("all values are equal, so agreement cannot be told from chance")
    apart_KK = _apart(values_K, totals_K, level)
    expected = (np.outer(totals_K, totals_K) * apart_KK).sum() / (totals_K.sum() - 1)
    return float(1 - (pairs_KK * apart_KK).sum() / expected)


def _apart(values_K: np.ndarray, totals_K: np.ndarray, level: Level) -> np.ndarray:
    """The squared distance of each two values, [K, K]."""
    if level == "nominal":
        return 1.0 - np.eye(len(values_K))
    if level == "interval":
        return (values_K[:, None] - values_K) ** 2
    if level == "ratio":
        total_KK = values_K[:, None] + values_K
        return np.divide(values_K[:, None] - values_K, total_KK, out=np.zeros_like(total_KK), where=total_KK != 0) ** 2
    # All values from one rank to the other lie between them, the two themselves by half.
    middle_K = np.cumsum(totals_K) - totals_K / 2
    return (middle_K[:, None] - middle_K) ** 2


def fleiss_kappa(counts_NK: np.ndarray) -> float:
    """Fleiss' kappa (Fleiss 1971, Psychological Bulletin 76:378) of how many coders chose each category.

    counts_NK: int; the same number of coders for each unit.

    Raises:
        ValueError: the numbers of coders differ or are below 2, or all chose one category.
    """
    size_N = counts_NK.sum(1)
    if len(size_N) == 0 or size_N.min() != size_N.max() or size_N[0] < 2:
        raise ValueError("Fleiss' kappa needs the same number of coders, two or more, for each item")
    share_K = counts_NK.sum(0) / counts_NK.sum()
    expected = float((share_K**2).sum())
    if expected == 1:
        raise ValueError("all chose one category, so agreement cannot be told from chance")
    agreeing_N = (counts_NK * (counts_NK - 1)).sum(1) / (size_N * (size_N - 1))
    return (float(agreeing_N.mean()) - expected) / (1 - expected)


def cohen_kappa(first: Sequence[object], second: Sequence[object]) -> float:
    """Cohen's kappa of two coders over the same items (Cohen 1960, Educational and Psychological Measurement 20:37).

    Raises:
        ValueError: there are no items, or both gave all of them one category.
    """
    if not first or len(first) != len(second):
        raise ValueError("kappa needs one category by each of two coders for each item")
    categories = sorted({*map(str, first), *map(str, second)})
    place = {category: number for number, category in enumerate(categories)}
    table_KK = np.zeros((len(categories), len(categories)))
    for one, other in zip(first, second, strict=True):
        table_KK[place[str(one)], place[str(other)]] += 1
    table_KK /= len(first)
    expected = float(table_KK.sum(0) @ table_KK.sum(1))
    if expected == 1:
        raise ValueError("both gave all items one category, so agreement cannot be told from chance")
    return (float(np.trace(table_KK)) - expected) / (1 - expected)
