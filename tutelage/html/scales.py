"""Axes: scales, ticks, tick labels, and thinning of points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

_MAX_VALUE = 1e200  # beyond it, the difference of two values may overflow


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear or logarithmic map from the values `low` to `high` to the places `start` to `stop`."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __call__(self, values: np.ndarray | float) -> np.ndarray:
        """The place of each value, float64; NaN where it has none on a logarithmic axis."""
        low, high, values = self.low, self.high, np.asarray(values, np.float64)
        if self.log:
            low, high = math.log10(low), math.log10(high)
            values = np.log10(np.where(values > 0, values, np.nan))
        return self.start + (values - low) / (high - low) * (self.stop - self.start)


def drawable(values: np.ndarray, log: bool = False) -> np.ndarray:
    """Which values have a place on an axis, bool: below 1e200, and positive on a logarithmic axis."""
    with np.errstate(invalid="ignore"):
        return (np.abs(values) < _MAX_VALUE) & ((values > 1 / _MAX_VALUE) | (not log))


def span(values: np.ndarray, log: bool, margin: float = 0.0) -> tuple[float, float]:
    """The lowest and highest value of an axis; they differ even for one value or none.

    `margin` widens the span on both sides by that share.
    """
    values = values[drawable(values, log)]
    if not len(values):
        return (1.0, 10.0) if log else (0.0, 1.0)
    low, high = float(values.min()), float(values.max())
    if log:
        low, high = math.log10(low), math.log10(high)
    if high - low <= max(1e-12 * max(abs(low), abs(high)), 1 / _MAX_VALUE):
        half = 0.5 if log else max(abs(low) / 10, 1e-9) if low else 0.5
        low, high = low - half, high + half
    low, high = low - margin * (high - low), high + margin * (high - low)
    return (10**low, 10**high) if log else (low, high)


def ticks(low: float, high: float, count: int = 6, log: bool = False) -> list[float]:
    """About `count` round values within [low, high]: steps of 1, 2 or 5, or powers of ten.

    A logarithmic axis of up to two decades has 1, 2 and 5 of each, and one of less than half a decade has linear steps.

    Raises:
        ValueError: high is not above low, either is not finite, or low is not positive on a logarithmic axis.
    """
    if not (math.isfinite(low) and math.isfinite(high) and low < high and (low > 0 or not log)):
        raise ValueError(f"no axis from {low} to {high}{' in decades' if log else ''}; give two finite values in order")
    if log and high / low > 3:
        return _log_ticks(low, high, count)
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999) * power
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    # Adding up steps would give 0.30000000000000004.
    decimals = max(0, 1 - math.floor(math.log10(step)))
    return [round(number * step, decimals) + 0.0 for number in range(first, last + 1)]


def _log_ticks(low: float, high: float, count: int) -> list[float]:
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    stride = max(1, math.ceil((last - first) / count))
    factors = (1, 2, 5) if last - first <= 2 else (1,)
    values = [float(f"{factor}e{power}") for power in range(first, last + 1, stride) for factor in factors]
    return [value for value in values if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]


def tick_label(value: float, step: float, percent: bool = False, largest: float = 0.0) -> str:
    """The shortest label that its step allows: 0.25, 1,500, 20k, 3M, 1e-4, 45%; in a unit that fits the `largest`."""
    if value < 0:
        return "−" + tick_label(-value, step, percent, largest)
    if percent:
        return tick_label(value * 100, step * 100, largest=largest * 100) + "%"
    if value == 0:
        return "0"
    if (step < 1e-3 and value < 1e-2) or max(value, largest) >= 1e12:
        digits, power = f"{value:.{max(0, _power(value) - _power(step))}e}".split("e")
        return f"{digits}e{int(power)}"
    for least, unit, letter in ((1e9, 1e9, "B"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if max(value, largest) >= least and step >= unit / 100:
            return f"{value / unit:,.{_decimals(step / unit)}f}{letter}"
    return f"{value:,.{_decimals(step)}f}"


def tick_labels(values: Sequence[float], log: bool = False, percent: bool = False) -> list[str]:
    """A label for each tick of an axis."""
    if log and min(values, default=1.0) < 1e-3:  # 1e-4, 1e-3, 1e-2 read better together than 1e-4, 0.001, 0.01
        return [f"{value:.0e}".replace("e-0", "e-") if value < 0.1 else tick_label(value, value) for value in values]
    gap = min((b - a for a, b in pairwise(values)), default=0.0)
    largest = 0.0 if log else max(map(abs, values), default=0.0)
    return [tick_label(value, value if log or not gap else gap, percent, largest) for value in values]


def _decimals(step: float) -> int:
    """How many decimals multiples of `step` need."""
    return max(0, -_power(step)) if step > 0 else 0


def _power(value: float) -> int:
    """The power of ten of the leading digit."""
    return math.floor(math.log10(value) + 1e-9)


def thin(places: np.ndarray, heights: Sequence[np.ndarray], width: float) -> np.ndarray:
    """Sorted indices of the points that a line needs to look the same.

    Of consecutive points within `width` on the axis, the first and the last are kept, and for each array of heights the
    lowest and the highest.
    """
    columns = np.floor(places / width)
    cuts = [0, *(np.flatnonzero(columns[1:] != columns[:-1]) + 1).tolist(), len(places)]
    kept: set[int] = set()
    for first, last in pairwise(cuts):
        if last - first <= 4:
            kept.update(range(first, last))
            continue
        kept.update((first, last - 1))
        for height in heights:
            part = height[first:last]
            kept.update((first + int(np.argmin(part)), first + int(np.argmax(part))))
    return np.array(sorted(kept), np.int64)
