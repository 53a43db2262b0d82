"""Estimates and effects of quantities that have bootstrap draws, such as exponents and steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tutelage.intervals import Z_95
from tutelage.lab.estimates import Estimate, Kind
from tutelage.lab.verdict import Effect

DRAWS = 1000
# Student's two-sided 95% point by the number of seeds.
T_95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}


def drawn(value: float, draws: np.ndarray, kind: Kind = "number") -> Estimate:
    """A value with the 95% percentile interval of its draws."""
    low, high = np.quantile(draws, (0.025, 0.975))
    return Estimate(value, min(value, float(low)), max(value, float(high)), kind)


def drawn_effect(
    name: str, value: float, draws: np.ndarray, by_seed: Sequence[float], least: float = 0.0, kind: Kind = "number"
) -> Effect:
    """What a claim predicts to be above 0, with the interval of its draws."""
    return Effect(name, drawn(value, draws, kind), [float(one) for one in by_seed], least=least)


def within(name: str, value: float, draws: np.ndarray, by_seed: Sequence[float], low: float, high: float) -> Effect:
    """How far a quantity is from the nearer of two bounds: above 0 between them."""
    inside = [float(min(one - low, high - one)) for one in by_seed]
    name = f"{name}, {low:g} to {high:g}: {value:.3g}, distance to the nearer bound"
    return drawn_effect(name, min(value - low, high - value), np.minimum(draws - low, high - draws), inside)


def over_items(
    statistic: Callable[[list[np.ndarray]], float], by_seed: Sequence[np.ndarray], draws: int = DRAWS, seed: int = 0
) -> tuple[float, np.ndarray, list[float]]:
    """A statistic of items, its bootstrap draws over items, and its value with each seed.

    by_seed: per seed an array whose last axis is the items, the same items in the same order; `statistic` takes a list
             of such arrays.
    """
    rng, items = np.random.default_rng(seed), by_seed[0].shape[-1]
    places = rng.integers(items, size=(draws, items))
    again = np.array([statistic([one[..., place] for one in by_seed]) for place in places])
    return statistic(list(by_seed)), again, [statistic([one]) for one in by_seed]


def over_seeds(values: np.ndarray, seed: int = 0) -> np.ndarray:
    """Draws about the mean of a few seeds, float64 [..., DRAWS] of [..., seeds], as wide as Student's interval; one
    seed has no spread."""
    count = values.shape[-1]
    error = values.std(axis=-1, ddof=1) / np.sqrt(count) * T_95[count] / Z_95 if count > 1 else 0 * values[..., 0]
    normal = np.random.default_rng(seed).standard_normal((*values.shape[:-1], DRAWS))
    return values.mean(axis=-1)[..., None] + error[..., None] * normal
