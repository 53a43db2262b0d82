"""Fits the laws of `laws.py` to points, with bootstrap intervals."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np

from tutelage.scaling.huber import Minima, minimise
from tutelage.scaling.laws import Chinchilla, PowerLaw
from tutelage.scaling.points import Points

BOOTSTRAPS = 1000
_AGREE = 1e-6  # relative difference of objectives within which two starts found the same minimum


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its 95% interval, and its standard error over bootstrap draws."""

    value: float
    low: float
    high: float
    error: float


@dataclass(frozen=True, eq=False, slots=True)
class ChinchillaFit:
    """A fit of L(N, D).

    draws:     constants of every bootstrap draw, float64 [R] each.
    agreeing:  starts that reached the lowest objective, of `starts`.
    converged: whether the best start and all draws converged.
    """

    constants: Chinchilla
    draws: Chinchilla
    objective: float
    points: Points
    starts: int
    agreeing: int
    converged: bool
    seed: int

    def interval(self, function: Callable[[Chinchilla], Any]) -> Interval:
        """The interval of a quantity that the constants determine."""
        return interval(float(function(self.constants)), np.asarray(function(self.draws)))

    def to_plain(self) -> dict[str, Any]:
        """The result as plain data: every constant with its interval, what N counts, and what was left out."""
        constants = {name: self.interval(attrgetter(name)) for name in Chinchilla._fields}
        exponents = {"N": self.interval(lambda c: c.beta / (c.alpha + c.beta))}
        exponents["D"] = self.interval(lambda c: c.alpha / (c.alpha + c.beta))
        return {
            "law": "L(N, D) = E + A / N^alpha + B / D^beta",
            "constants": constants,
            "optimal_exponents": exponents,
            "objective": self.objective,
            "starts": self.starts,
            "starts_agreeing": self.agreeing,
            "converged": self.converged,
            "bootstraps": len(np.atleast_1d(self.draws.E)),
            "seed": self.seed,
            **describe(self.points),
        }


@dataclass(frozen=True, eq=False, slots=True)
class PowerFit:
    """A fit of L(X) = (scale / X)^exponent, or with a `floor` that is added; see ChinchillaFit."""

    law: PowerLaw
    draws: PowerLaw
    floor: float
    floor_draws: np.ndarray
    objective: float
    x_range: tuple[float, float]

    def to_plain(self) -> dict[str, Any]:
        """The constants with their intervals."""
        parts = {name: interval(float(getattr(self.law, name)), getattr(self.draws, name)) for name in PowerLaw._fields}
        floor = {"floor": interval(self.floor, self.floor_draws)} if self.floor else {}
        return {**parts, **floor, "objective": self.objective, "range": self.x_range}


def interval(value: float, draws: np.ndarray) -> Interval:
    """The percentile interval of bootstrap draws; draws that are not finite make its ends infinite."""
    ordered = np.where(np.isnan(draws), np.inf, draws)
    low, high = np.quantile(ordered, (0.025, 0.975), method="inverted_cdf")
    finite = draws[np.isfinite(draws)]
    return Interval(value, float(low), float(high), float(finite.std()) if len(finite) else math.inf)


def describe(points: Points) -> dict[str, Any]:
    """What a result says about its points."""
    return {
        "points": len(points),
        "dropped": points.dropped,
        "count_of_N": points.count,
        "unit": points.unit,
        "ranges": points.ranges(),
    }


def decades_beyond(value: float, low: float, high: float) -> float:
    """How many decades a value lies outside of a range; 0 within it."""
    return max(0.0, math.log10(value / high), math.log10(low / value))


def predict(fit: ChinchillaFit, parameters: float, tokens: float) -> dict[str, Any]:
    """The loss of N and D with its interval, and the distance from the points in decades, by axis."""
    at = {"parameters": parameters, "tokens": tokens, "compute": 6 * parameters * tokens}
    at["tokens_per_parameter"] = tokens / parameters
    ranges = fit.points.ranges()
    beyond = {name: decades_beyond(value, *ranges[name]) for name, value in at.items()}
    return {"loss": fit.interval(lambda c: c.loss(parameters, tokens)), "at": at, "decades_beyond": beyond}


def fit_chinchilla(points: Points, bootstraps: int = BOOTSTRAPS, seed: int = 0) -> ChinchillaFit:
    """Fit L(N, D) as Hoffmann et al. 2022 (arXiv 2203.15556, section 3.3): Huber loss with delta 1e-3 on the logarithm
    of the loss, summed; many starts. The intervals come from resampled points.

    Raises:
        ValueError: the points do not determine five constants, or their loss does not fall with N or D.
    """
    sizes, lengths = len(np.unique(points.parameters)), len(np.unique(points.tokens))
    if len(points) < 6 or sizes < 3 or lengths < 3:
        raise ValueError(
            f"{len(points)} points with {sizes} sizes and {lengths} numbers of tokens do not determine five constants; "
            "train at least 6 models with 3 sizes and 3 numbers of tokens"
        )
    x, y = np.log(points.parameters), np.log(points.tokens)
    x_mean, y_mean = float(x.mean()), float(y.mean())  # at the geometric means, constants and exponents decouple
    features_PKM = np.zeros((len(points), 3, 5))
    features_PKM[:, 0, 0] = features_PKM[:, 1, 1] = features_PKM[:, 2, 3] = 1
    features_PKM[:, 1, 2], features_PKM[:, 2, 4] = x_mean - x, y_mean - y
    target_P = np.log(points.loss)
    best, again, agreeing, count = solve(features_PKM, target_P, starts(points.loss, 2), bootstraps, seed)

    def constants(parameters_BM: np.ndarray) -> Chinchilla:
        e, a, alpha, b, beta = parameters_BM.T
        return Chinchilla(np.exp(e), np.exp(a + alpha * x_mean), np.exp(b + beta * y_mean), alpha, beta)

    single = Chinchilla(*(float(np.asarray(part)[0]) for part in constants(best.parameters_BM)))
    if min(single.alpha, single.beta) <= 0:
        axis = "parameters" if single.alpha <= single.beta else "tokens"
        raise ValueError(f"the loss of these points does not fall with {axis}; train models with more, and for longer")
    converged = bool(best.converged_B[0] and again.converged_B.all())
    objective = float(best.objective_B[0])
    return ChinchillaFit(single, constants(again.parameters_BM), objective, points, count, agreeing, converged, seed)


def fit_power_law(
    x: np.ndarray, loss: np.ndarray, with_floor: bool = False, bootstraps: int = BOOTSTRAPS, seed: int = 0
) -> PowerFit:
    """Fit L(X) = (scale / X)^exponent, or (scale / X)^exponent + floor, to x and loss, [P] each, as `fit_chinchilla`.

    Raises:
        ValueError: fewer points than constants.
    """
    needed = 3 + with_floor
    if len(np.unique(x)) < needed:
        raise ValueError(f"{len(np.unique(x))} different values do not determine a power law; give at least {needed}")
    mean = float(np.log(x).mean())
    features_PKM = np.zeros((len(x), 1 + with_floor, 2 + with_floor))
    features_PKM[:, -1, -2], features_PKM[:, -1, -1] = 1, mean - np.log(x)
    if with_floor:
        features_PKM[:, 0, 0] = 1
    starts_BM = starts(loss, 1) if with_floor else np.array([[np.log(loss).mean(), a] for a in (0.05, 0.3)])
    best, again, _, _ = solve(features_PKM, np.log(loss), starts_BM, bootstraps, seed)

    def law(parameters_BM: np.ndarray) -> PowerLaw:
        height, exponent = parameters_BM[:, -2], parameters_BM[:, -1]
        with np.errstate(all="ignore"):  # an exponent near 0 in a draw has no scale
            return PowerLaw(np.exp(height / exponent + mean), exponent)

    single = PowerLaw(*(float(np.asarray(part)[0]) for part in law(best.parameters_BM)))
    floors = np.exp(again.parameters_BM[:, 0]) if with_floor else np.zeros(bootstraps)
    floor = float(np.exp(best.parameters_BM[0, 0])) if with_floor else 0.0
    span = (float(x.min()), float(x.max()))
    return PowerFit(single, law(again.parameters_BM), floor, floors, float(best.objective_B[0]), span)


def frontier(points: Points) -> Points:
    """The points that no other point beats with as little compute: those of the compute-efficient frontier."""
    order = np.lexsort((points.loss, points.compute))
    lowest = np.minimum.accumulate(points.loss[order])
    first = np.concatenate([[True], lowest[1:] < lowest[:-1]])
    return points.take(np.sort(order[first]), "not on the compute-efficient frontier")


def starts(loss: np.ndarray, terms: int) -> np.ndarray:
    """Starts [B, M]: the floor at some fractions of the lowest loss, the rest in equal parts, exponents on a grid."""
    rows = []
    for share in (0.1, 0.4, 0.7, 0.9):
        floor = share * float(loss.min())
        height = math.log((float(loss.mean()) - floor) / terms)
        grid = itertools.product((0.15, 0.35, 0.7), repeat=terms)
        rows += [[math.log(floor), *(part for slope in slopes for part in (height, slope))] for slopes in grid]
    return np.array(rows)


def solve(
    features_PKM: np.ndarray, target_P: np.ndarray, starts_BM: np.ndarray, bootstraps: int, seed: int
) -> tuple[Minima, Minima, int, int]:
    """The best fit over the starts [1], the bootstrap fits from there [R], starts that agree, and starts."""
    points = len(target_P)
    found = minimise(features_PKM, target_P, starts_BM, np.ones((len(starts_BM), points)))
    best = int(found.objective_B.argmin())
    lowest = found.objective_B[best]
    agreeing = int((found.objective_B <= lowest * (1 + _AGREE) + 1e-12).sum())
    chosen = Minima(*(array[best : best + 1] for array in found))
    counts_BP = np.random.default_rng(seed).multinomial(points, np.full(points, 1 / points), bootstraps)
    again = minimise(features_PKM, target_P, np.repeat(chosen.parameters_BM, bootstraps, 0), counts_BP.astype(float))
    return chosen, again, agreeing, len(starts_BM)
