"""How sure a measured figure is: 95% intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

Z_95 = 1.959963984540054  # the normal distribution's two-sided 95% point


@dataclass(frozen=True, slots=True)
class Rate:
    """A share of `count` trials with its 95% interval."""

    rate: float
    low: float
    high: float
    count: int


def rate(successes: int, count: int) -> Rate:
    """Wilson's interval (Wilson 1927), which stays within 0 and 1 and holds near both; ValueError for no trials."""
    if not 0 <= successes <= count or count == 0:
        raise ValueError(f"{successes} successes of {count} trials is no rate")
    share = successes / count
    scale = 1 + Z_95**2 / count
    centre = (share + Z_95**2 / (2 * count)) / scale
    half = Z_95 / scale * math.sqrt(share * (1 - share) / count + Z_95**2 / (4 * count**2))
    # At 0 and 1 the bounds are exact; rounding would put the rate itself outside.
    low, high = (0.0 if successes == 0 else centre - half), (1.0 if successes == count else centre + half)
    return Rate(share, low, high, count)


def ratio_of_sums(
    after: np.ndarray, before: np.ndarray, seed: int = 0, resamples: int = 2000
) -> tuple[float, float, float]:
    """sum(after) / sum(before) - 1 over paired items, with its 95% interval from a bootstrap over the items
    (Efron 1979): (increase, low, high)."""
    assert after.shape == before.shape and after.ndim == 1 and len(after)
    picks = np.random.default_rng(seed).integers(0, len(after), (resamples, len(after)))
    increases = after[picks].sum(axis=1) / before[picks].sum(axis=1) - 1
    low, high = np.quantile(increases, [0.025, 0.975])
    return float(after.sum() / before.sum() - 1), float(low), float(high)
