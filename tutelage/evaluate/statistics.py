"""How sure a measured figure is, and the difference of two: 95% intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tutelage.intervals import Z_95 as Z_95
from tutelage.intervals import Rate as Rate
from tutelage.intervals import mean_interval as mean_interval
from tutelage.intervals import rate as rate

# Student's two-sided 95% points for 1 to 18 degrees of freedom: those of 2 to 19 items.
T_95 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262),
    *(2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101),
)
FEW = 20


@dataclass(frozen=True, slots=True)
class Difference:
    """How much higher the second of two rates is than the first, over `count` items both were tried on, with its 95%
    interval."""

    difference: float
    low: float
    high: float
    count: int


def paired_difference(first: np.ndarray, second: np.ndarray) -> Difference:
    """Rate of `second` minus rate of `first`, arrays of 0 and 1, [items], over the same items in the same order.

    The adjusted Wald interval for paired proportions (Bonett & Price 2012, Journal of Educational and Behavioral
    Statistics 37:479): one made-up item is added to each kind that the two disagree on. ValueError for no items.
    """
    assert first.shape == second.shape and first.ndim == 1
    if not len(first):
        raise ValueError("there is no difference of two rates without items that both were tried on")
    won, lost = int(((second == 1) & (first == 0)).sum()), int(((second == 0) & (first == 1)).sum())
    count = len(first)
    up, down = (won + 1) / (count + 2), (lost + 1) / (count + 2)
    half = Z_95 * math.sqrt((up + down - (up - down) ** 2) / (count + 2))
    return Difference((won - lost) / count, max(up - down - half, -1.0), min(up - down + half, 1.0), count)


def ratio_of_sums(
    after: np.ndarray, before: np.ndarray, seed: int = 0, resamples: int = 2000
) -> tuple[float, float, float]:
    """sum(after) / sum(before) - 1 over paired items, with its 95% interval from a bootstrap over the items
    (Efron 1979), or for fewer than FEW from Student's t: (increase, low, high)."""
    assert after.shape == before.shape and after.ndim == 1 and len(after)
    if len(after) < FEW:
        return _ratio_of_few_sums(after, before)
    picks = np.random.default_rng(seed).integers(0, len(after), (resamples, len(after)))
    increases = after[picks].sum(axis=1) / before[picks].sum(axis=1) - 1
    low, high = np.quantile(increases, [0.025, 0.975])
    return float(after.sum() / before.sum() - 1), float(low), float(high)


def _ratio_of_few_sums(after: np.ndarray, before: np.ndarray) -> tuple[float, float, float]:
    """The same for few items, of which a bootstrap interval is too narrow: the linearised variance of a ratio (Cochran
    1977, Sampling Techniques, equation 6.13), and Student's t. One item says nothing of the spread."""
    count, increase = len(after), float(after.sum() / before.sum() - 1)
    if count == 1:
        return increase, -1.0, max(1.0, 1 + increase)
    residuals = after - (1 + increase) * before
    error = math.sqrt(count / (count - 1) * float((residuals**2).sum())) / float(before.sum())
    half = T_95[count - 2] * error
    return increase, max(increase - half, -1.0), increase + half


def share_of_sums(hits: np.ndarray, totals: np.ndarray, seed: int = 0, resamples: int = 2000) -> Rate:
    """sum(hits) / sum(totals) with its 95% interval from a bootstrap over the items: hits within one item, such as the
    words of one answer, hang together, so they are not counted as trials of their own."""
    assert hits.shape == totals.shape and hits.ndim == 1 and totals.sum() > 0
    picks = np.random.default_rng(seed).integers(0, len(hits), (resamples, len(hits)))
    shares = hits[picks].sum(axis=1) / np.maximum(totals[picks].sum(axis=1), 1)
    low, high = np.quantile(shares, [0.025, 0.975])
    return Rate(float(hits.sum() / totals.sum()), float(low), float(high), int(totals.sum()))
