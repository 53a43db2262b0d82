"""Everything that points determine: L(N, D), isoFLOP curves, the compute-efficient frontier, and what follows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from tutelage.scaling.fit import (
    BOOTSTRAPS,
    ChinchillaFit,
    PowerFit,
    decades_beyond,
    describe,
    fit_chinchilla,
    fit_power_law,
    frontier,
    predict,
)
from tutelage.scaling.isoflop import IsoFlopFit, fit_isoflop
from tutelage.scaling.made_text import MadeFit, fit_made
from tutelage.scaling.optimum import compute_optimal, overtraining_cost, tokens_per_parameter
from tutelage.scaling.points import Points

T = TypeVar("T")


@dataclass(frozen=True, eq=False, slots=True)
class Analysis:
    """The fits of points; None where `refused` says why there is none."""

    points: Points
    chinchilla: ChinchillaFit | None
    isoflop: IsoFlopFit | None
    frontier: PowerFit | None
    refused: dict[str, str]
    made: MadeFit | None = None

    def to_plain(self, budgets: Sequence[float] = (), models: Sequence[tuple[float, float]] = ()) -> dict[str, Any]:
        """All results as plain data, with the compute-optimal models of `budgets`, FLOPs, and the predicted loss of
        `models`, parameters and tokens."""
        fits = {"chinchilla": self.chinchilla, "isoflop": self.isoflop, "frontier": self.frontier, "made": self.made}
        return {
            **describe(self.points),
            **{name: fit.to_plain() for name, fit in fits.items() if fit is not None},
            "refused": self.refused,
            "optimal": [self.optimal(compute) for compute in budgets],
            "predicted": [self.predicted(*model) for model in models],
        }

    def optimal(self, compute: float) -> dict[str, Any]:
        """The compute-optimal model of a budget by each fit."""
        result: dict[str, Any] = {"compute": compute}
        low, high = self.points.ranges()["compute"]
        result["decades_beyond"] = decades_beyond(compute, low, high)
        if (fit := self.chinchilla) is not None:
            result["chinchilla"] = {
                "parameters": fit.interval(lambda law: compute_optimal(law, compute).parameters),
                "tokens": fit.interval(lambda law: compute_optimal(law, compute).tokens),
                "tokens_per_parameter": fit.interval(lambda law: tokens_per_parameter(law, compute)),
                "loss": fit.interval(lambda law: law.loss(*compute_optimal(law, compute))),
            }
        if self.isoflop is not None:
            parameters, decades = self.isoflop.optimal_parameters(compute)
            result["isoflop"] = {"parameters": parameters, "decades_beyond_budgets": decades}
        return result

    def predicted(self, parameters: float, tokens: float) -> dict[str, Any]:
        """The predicted loss of a model, and its compute as a multiple of the least compute of that loss.

        Raises:
            ValueError: the points do not determine L(N, D).
        """
        fit = self.chinchilla
        if fit is None:
            raise ValueError(f"there is no law to predict a loss with: {self.refused['chinchilla']}")
        cost = fit.interval(lambda law: overtraining_cost(law, parameters, tokens))
        return {**predict(fit, parameters, tokens), "overtraining_cost": cost}


def analyse(points: Points, bootstraps: int = BOOTSTRAPS, seed: int = 0) -> Analysis:
    """Fit what the points determine. Points with made text determine its value; the other fits leave them out.

    Raises:
        ValueError: they determine nothing.
    """
    refused: dict[str, str] = {}

    def attempt(name: str, function: Callable[[], T]) -> T | None:
        try:
            return function()
        except ValueError as error:
            refused[name] = str(error)
            return None

    def power_law() -> PowerFit:
        best = frontier(points)
        return fit_power_law(best.compute, best.loss, bootstraps=bootstraps, seed=seed)

    if not len(points):
        left_out = "; ".join(f"{number} rows: {reason}" for reason, number in points.dropped.items())
        raise ValueError(f"no points are left to fit{f' ({left_out})' if left_out else ''}")
    made = None
    if points.made is not None:
        everything = points
        made = attempt("made", lambda: fit_made(everything, bootstraps, seed))
        points = points.take(np.flatnonzero(points.made == 0), "made text in the training text")
    chinchilla = attempt("chinchilla", lambda: fit_chinchilla(points, bootstraps, seed))
    isoflop = attempt("isoflop", lambda: fit_isoflop(points, bootstraps, seed))
    best = attempt("frontier", power_law)
    if chinchilla is None and isoflop is None and best is None and made is None:
        raise ValueError("; ".join(refused.values()))
    return Analysis(points, chinchilla, isoflop, best, refused, made)
