"""Estimates with 95% intervals, as findings compare and print them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np

from tutelage.evaluate.statistics import Z_95, rate

# rate: a fraction of trials, from 0 to 1. relative_change: 0.1 is an increase by a tenth. points: the difference of two
# rates, 0.1 is 10 percentage points. mean: of anything that is counted. number: anything else, such as an exponent.
Kind = Literal["rate", "relative_change", "points", "mean", "number"]


class Estimate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A value and its 95% interval. `str()` formats it in percent, a difference of rates in percentage points."""

    value: float
    low: float
    high: float
    kind: Kind = "rate"

    def __str__(self) -> str:
        if self.kind == "mean":
            return f"{self.value:.1f} ({self.low:.1f} to {self.high:.1f})".replace("-", "−")
        if self.kind == "number":
            return f"{self.value:.3g} ({self.low:.3g} to {self.high:.3g})".replace("-", "−")
        sign = "" if self.kind == "rate" else "+"
        value, low, high = (f"{100 * part:{sign}.1f}".replace("-", "−") for part in (self.value, self.low, self.high))
        unit = " points" if self.kind == "points" else "%"
        return f"{value}{unit} ({low} to {high})"

    @property
    def above_zero(self) -> bool:
        """Whether the interval lies entirely above 0."""
        return self.low > 0

    @property
    def below_zero(self) -> bool:
        """Whether the interval lies entirely below 0."""
        return self.high < 0


def pooled(outcomes: Sequence[np.ndarray]) -> Estimate:
    """The rate of correct answers over several seeds, each int[items] of 0 and 1 on the same items.

    The interval uses the number of items of one seed: repeating the same items adds little information on new items.
    """
    mean = float(np.mean(outcomes))
    count = len(outcomes[0])
    interval = rate(round(mean * count), count)
    return Estimate(mean, interval.low, interval.high)


def difference(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> Estimate:
    """The rate of `second` minus that of `first`, in points: per seed int[items] of 0 and 1, all with the same items in
    the same order.

    The difference per item is averaged over the seeds, because a repeated item is not a new item. Then one pseudo-item
    per side is added, as in `paired_difference`, which this equals for one seed.
    """
    assert len(first) == len(second) > 0, "both need the same seeds"
    change_I = np.mean(second, axis=0) - np.mean(first, axis=0)
    adjusted = np.append(change_I, [1.0, -1.0])
    centre, half = float(adjusted.mean()), Z_95 * float(adjusted.std()) / math.sqrt(len(adjusted))
    return Estimate(float(change_I.mean()), max(centre - half, -1.0), min(centre + half, 1.0), "points")
