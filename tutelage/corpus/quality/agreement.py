"""Agreement between two scores: AUC, Spearman correlation and F1 with 95% intervals, without resampling the items."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

_Z = 1.959963984540054  # the normal distribution's two-sided 95% point
_DRAWS = 4000


class Figure(NamedTuple):
    """A measured figure with its 95% interval."""

    value: float
    low: float
    high: float


def area(scores: np.ndarray, good: np.ndarray) -> Figure:
    """The area under the ROC curve: how often a positive item scores above a negative one, ties counted half. The
    interval is that of DeLong et al. 1988 on the logit scale. `good` is bool[N]; both classes must occur."""
    above, below = scores[good], scores[~good]
    assert len(above) and len(below)
    of_good = _beaten(above, below)  # the fraction of negatives below each positive
    of_others = 1 - _beaten(below, above)
    value, fewer = float(of_good.mean()), min(len(above), len(below))
    # At perfect separation the variance is 0, although an inverted pair may merely not have been sampled.
    inside = min(max(value, 0.5 / fewer), 1 - 0.5 / fewer)
    slope = inside * (1 - inside)
    half = _Z * math.sqrt(_spread(of_good) + _spread(of_others) or slope / fewer) / slope
    logit = math.log(inside / (1 - inside))
    return Figure(value, min(value, _logistic(logit - half)), max(value, _logistic(logit + half)))


def spearman(first: np.ndarray, second: np.ndarray) -> Figure:
    """Spearman rank correlation, ties at their mean rank, with the interval of Bonett and Wright 2000. Needs at least 4
    items, and neither input constant."""
    assert len(first) == len(second) >= 4
    value = float(np.clip(np.corrcoef(ranks(first), ranks(second))[0, 1], -1, 1))
    half = _Z * math.sqrt((1 + value**2 / 2) / (len(first) - 3))
    centre = math.atanh(min(max(value, -1 + 1e-12), 1 - 1e-12))
    return Figure(value, math.tanh(centre - half), math.tanh(centre + half))


def f1(chosen: np.ndarray, good: np.ndarray) -> Figure:
    """F1, the harmonic mean of precision and recall; bool[N] both. The interval is that of its posterior with Jeffreys'
    prior, from draws with a fixed seed."""
    hits, false, missed = (int(both.sum()) for both in (chosen & good, chosen & ~good, ~chosen & good))
    assert hits + missed, "there is nothing to choose"
    # F1 depends on these three counts alone: 2 s / (1 + s) with s = hits / (hits + false + missed).
    share = np.random.default_rng(0).beta(hits + 0.5, false + missed + 0.5, _DRAWS)
    low, high = np.quantile(2 * share / (1 + share), [0.025, 0.975])
    value = 2 * hits / (2 * hits + false + missed)
    return Figure(value, min(value, float(low)), max(value, float(high)))


def ranks(values: np.ndarray) -> np.ndarray:
    """The rank of each value, from 1, ties at their mean rank: float64[N]."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[place]


def _beaten(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The fraction of `others` below each value, ties counted half."""
    ordered = np.sort(others)
    return (np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")) / (2 * len(others))


def _spread(values: np.ndarray) -> float:
    """The variance of the mean of values."""
    return float(values.var(ddof=1) / len(values)) if len(values) > 1 else 0.25


def _logistic(value: float) -> float:
    return 1 / (1 + math.exp(-value))
