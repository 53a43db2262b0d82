"""Whether a difference between two results is more than chance, for any scores of items that both were tried on.

The unit that is resampled, or counted once, is the group: items that share a passage, a prompt or a dialogue are not
independent. Without groups each item is one.

Shapes: N items, G groups, P p-values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from tutelage.evaluate.statistics import FEW, T_95, Difference
from tutelage.intervals import Z_95

RESAMPLES = 2000


def mcnemar(gained: int, lost: int) -> float:
    """The two-sided p-value of McNemar's exact test: `gained` items are right for the second model only, `lost` for the
    first only. Items on which both agree do not count (McNemar 1947, Psychometrika 12:153; exact binomial form)."""
    count, fewer = gained + lost, min(gained, lost)
    if count == 0:
        return 1.0
    # Integers, so that nothing overflows or underflows; the division rounds once.
    tail = sum(math.comb(count, successes) for successes in range(fewer + 1))
    return min(1.0, 2 * tail / 2**count)


def paired_bootstrap(
    first_N: np.ndarray,
    second_N: np.ndarray,
    groups: Sequence[str] | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Difference:
    """The mean of `second_N` minus that of `first_N`, with the 95% percentile interval of a bootstrap over groups of
    items (Efron 1979, Annals of Statistics 7:1; groups: Davison & Hinkley 1997, section 3.8). For scores that are not
    0 or 1. ValueError for fewer than two groups."""
    assert first_N.shape == second_N.shape and first_N.ndim == 1
    sums_G, sizes_G = _group_sums(second_N - first_N, groups)
    _check_groups(len(sums_G))
    picks = np.random.default_rng(seed).integers(0, len(sums_G), (resamples, len(sums_G)))
    means = sums_G[picks].sum(axis=1) / sizes_G[picks].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Difference(float((second_N - first_N).mean()), float(low), float(high), len(first_N))


def clustered_mean(values_N: np.ndarray, groups: Sequence[str]) -> dict[str, float]:
    """The mean over items with its 95% interval from clustered standard errors: "mean", "error", "low", "high".

    The error is sqrt(sum over groups of (sum of residuals)^2) / N, times sqrt(G / (G - 1)) for few groups (Miller 2024,
    "Adding error bars to evals", arXiv 2411.00640, section 2.2; Cameron & Miller 2015, section II.C). Below FEW groups
    the interval is Student's. ValueError for fewer than two groups.
    """
    mean = float(values_N.mean())
    sums_G, _ = _group_sums(values_N - mean, groups)
    _check_groups(len(sums_G))
    count = len(sums_G)
    error = math.sqrt(float((sums_G**2).sum()) * count / (count - 1)) / len(values_N)
    half = (T_95[count - 2] if count < FEW else Z_95) * error
    return {"mean": mean, "error": error, "low": mean - half, "high": mean + half}


def clustered_difference(first_N: np.ndarray, second_N: np.ndarray, groups: Sequence[str]) -> Difference:
    """The paired difference of two models with clustered errors; see `clustered_mean`."""
    assert first_N.shape == second_N.shape
    found = clustered_mean(second_N - first_N, groups)
    return Difference(found["mean"], found["low"], found["high"], len(first_N))


def macro_micro(values_N: np.ndarray, sets: Sequence[str]) -> Mapping[str, float]:
    """Both means of a result over several sets: `micro` weighs every item alike, `macro` every set (MMLU's subjects
    hold 100 to 1,534 items, so that the two differ)."""
    sums_G, sizes_G = _group_sums(values_N, sets)
    return {"micro": float(values_N.mean()), "macro": float((sums_G / sizes_G).mean())}


def holm(p_values: Sequence[float]) -> list[float]:
    """Each p-value adjusted for their number, in the same order: below .05 it is significant with the probability of
    any false one at most .05 (Holm 1979, Scandinavian Journal of Statistics 6:65)."""
    order = np.argsort(np.asarray(p_values, float), kind="stable")
    scaled = np.asarray(p_values, float)[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(scaled))
    return [float(value) for value in adjusted]


def _group_sums(values_N: np.ndarray, groups: Sequence[str] | None) -> tuple[np.ndarray, np.ndarray]:
    """The sum of each group's values, and its number of items."""
    if groups is None:
        return values_N.astype(float), np.ones(len(values_N))
    assert len(groups) == len(values_N)
    _, place_N = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    return np.bincount(place_N, weights=values_N), np.bincount(place_N).astype(float)


def _check_groups(count: int) -> None:
    if count < 2:
        raise ValueError(
            "an interval over groups of items needs two groups or more; one group says nothing of the rest"
        )
