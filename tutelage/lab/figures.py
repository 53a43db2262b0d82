"""Figures with their 95% intervals, as a finding weighs and says them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np

from tutelage.evaluate.statistics import Z_95, rate

# share: of trials, from 0 to 1. change: relative, 0.1 is a tenth more. points: the difference of two shares.
Kind = Literal["share", "change", "points"]


class Estimate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A figure and the bounds of its 95% interval. `str()` says it in percent, a difference of shares in points."""

    value: float
    low: float
    high: float
    kind: Kind = "share"

    def __str__(self) -> str:
        sign = "" if self.kind == "share" else "+"
        value, low, high = (f"{100 * one:{sign}.1f}".replace("-", "−") for one in (self.value, self.low, self.high))
        unit = " points" if self.kind == "points" else "%"
        return f"{value}{unit} ({low} to {high})"

    @property
    def above_zero(self) -> bool:
        """Whether the whole interval lies above 0."""
        return self.low > 0

    @property
    def below_zero(self) -> bool:
        """Whether the whole interval lies below 0."""
        return self.high < 0


def pooled(outcomes: Sequence[np.ndarray]) -> Estimate:
    """The share of right answers over several seeds, each int[items] of 0 and 1 on the same items.

    The interval is that of one seed's number of items: asking the same items again says little about others.
    """
    share = float(np.mean(outcomes))
    count = len(outcomes[0])
    interval = rate(round(share * count), count)
    return Estimate(share, interval.low, interval.high)


def difference(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> Estimate:
    """How many points higher the share of `second` is than that of `first`: for each of several seeds int[items] of 0
    and 1, all on the same items in the same order.

    An item's difference is averaged over the seeds, so that asking an item again is not asking a new one. Then one
    made-up item is added for each side, as `paired_difference` does, which this is where there is one seed.
    """
    assert len(first) == len(second) > 0, "both are tried with the same seeds"
    change_I = np.mean(second, axis=0) - np.mean(first, axis=0)
    adjusted = np.append(change_I, [1.0, -1.0])
    centre, half = float(adjusted.mean()), Z_95 * float(adjusted.std()) / math.sqrt(len(adjusted))
    return Estimate(float(change_I.mean()), max(centre - half, -1.0), min(centre + half, 1.0), "points")
