"""Shares and means with their 95% intervals, for audits, rewards and evaluations."""

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


def mean_interval(values: np.ndarray) -> dict[str, float]:
    """The mean of items with its normal 95% interval, as "mean", "low" and "high"; of one item without an interval."""
    mean = float(values.mean())
    if len(values) < 2:
        return {"mean": mean}
    half = Z_95 * float(values.std(ddof=1)) / math.sqrt(len(values))
    return {"mean": mean, "low": mean - half, "high": mean + half}
