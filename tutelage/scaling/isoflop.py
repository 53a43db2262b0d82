"""isoFLOP curves: at each compute budget a parabola in log N; its minimum grows as a power of the budget."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from tutelage.scaling.fit import BOOTSTRAPS, Interval, decades_beyond, describe, interval
from tutelage.scaling.laws import Chinchilla
from tutelage.scaling.optimum import compute_optimal
from tutelage.scaling.parabola import LEAST_POINTS, Parabola, fit_parabola, power_through
from tutelage.scaling.points import Points

_SAME_BUDGET = 0.1  # relative difference of compute within which points share a budget


@dataclass(frozen=True, eq=False, slots=True)
class Curve:
    """The parabola of a budget in ln N, and N of its minimum. Where that is not `parabola.inside` the models of the
    budget, it is an extrapolation."""

    budget: float
    parameters: np.ndarray
    loss: np.ndarray
    parabola: Parabola
    optimum: Interval


@dataclass(frozen=True, eq=False, slots=True)
class IsoFlopFit:
    """N = exp(intercept) C^exponent through the minima of the curves; draws float64 [R]."""

    curves: list[Curve]
    exponent: float
    intercept: float
    exponent_draws: np.ndarray
    intercept_draws: np.ndarray
    skipped: dict[str, int]
    points: Points

    def optimal_parameters(self, compute: float) -> tuple[Interval, float]:
        """N of the compute-optimal model with its interval, and the decades between `compute` and the budgets."""
        log = math.log(compute)
        value = math.exp(self.intercept + self.exponent * log)
        budgets = [curve.budget for curve in self.curves]
        draws = np.exp(self.intercept_draws + self.exponent_draws * log)
        return interval(value, draws), decades_beyond(compute, min(budgets), max(budgets))

    def to_plain(self) -> dict[str, Any]:
        """The result as plain data."""
        curves = [
            {
                "budget": curve.budget,
                "points": len(curve.loss),
                "optimum": curve.optimum,
                "inside": curve.parabola.inside,
            }
            for curve in self.curves
        ]
        exponent = interval(self.exponent, self.exponent_draws)
        return {"exponent_of_N": exponent, "curves": curves, "skipped": self.skipped, **describe(self.points)}


def budgets_of(points: Points) -> np.ndarray:
    """The budget of each point, float64 [P]: the column of the table, or groups of compute within 10%."""
    order = np.argsort(points.compute, kind="stable")
    groups = np.concatenate([[0], np.cumsum(np.diff(np.log(points.compute[order])) > math.log1p(_SAME_BUDGET))])
    means = np.array([np.exp(np.log(points.compute[order][groups == group]).mean()) for group in np.unique(groups)])
    grouped = np.empty(len(points))
    grouped[order] = means[groups]
    return np.where(np.isfinite(points.budget), points.budget, grouped)


def fit_isoflop(points: Points, bootstraps: int = BOOTSTRAPS, seed: int = 0) -> IsoFlopFit:
    """Fit a parabola per budget, and a power law through the minima (Hoffmann et al. 2022, arXiv 2203.15556, section
    3.2).

    A loss that is no parabola biases the minimum (`parabola_bias`). Intervals come from residuals drawn again within
    each budget.

    Raises:
        ValueError: fewer than two budgets have a parabola with a minimum.
    """
    rng = np.random.default_rng(seed)
    budgets, skipped = budgets_of(points), Counter[str]()
    curves = []
    for flops in np.unique(budgets):
        here = budgets == flops
        parameters, loss = points.parameters[here], points.loss[here]
        if len(np.unique(parameters)) < LEAST_POINTS:
            skipped[f"budgets with fewer than {LEAST_POINTS} sizes"] += 1
        elif (parabola := fit_parabola(np.log(parameters), loss, bootstraps, rng)) is None:
            skipped["budgets whose parabola has no minimum"] += 1
        else:
            optimum = interval(math.exp(parabola.minimum), np.exp(parabola.draws))
            curves.append(Curve(float(flops), parameters, loss, parabola, optimum))
    if len(curves) < 2:
        reasons = "; ".join(f"{number} {reason}" for reason, number in skipped.items())
        raise ValueError(
            f"isoFLOP needs two budgets with at least {LEAST_POINTS} sizes each and a minimum; there "
            f"{'is' if len(curves) == 1 else 'are'} {len(curves)}{f' ({reasons})' if reasons else ''}"
        )
    trained = np.array([curve.budget for curve in curves])
    exponent, intercept = power_through(trained, np.array([curve.parabola.minimum for curve in curves]))
    exponents, intercepts = power_through(trained, np.array([curve.parabola.draws for curve in curves]))
    return IsoFlopFit(curves, float(exponent), float(intercept), exponents, intercepts, skipped, points)


def parabola_bias(law: Chinchilla, decades: float, sizes: int = 9) -> float:
    """N of the minimum of a parabola, relative to the true optimum, on an exact surface with `sizes` models from
    `decades` below to `decades` above the optimum. At every budget it is the same, so exponents are not biased where
    all budgets have the same grid about their optimum."""
    compute = 1e21
    optimum = float(compute_optimal(law, compute).parameters)
    offsets = np.linspace(-decades, decades, sizes) * math.log(10)
    parameters = optimum * np.exp(offsets)
    loss = np.asarray(law.loss(parameters, compute / 6 / parameters))
    _, slope, curvature = np.polynomial.polynomial.polyfit(offsets, loss, 2)
    return math.exp(-slope / (2 * curvature))
