"""The learning rate over the sizes of a ladder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tutelage.html import Html, Series, line_plot
from tutelage.scaling.fit import Interval
from tutelage.scaling.hyperparameters import SettingLaw, fit_setting
from tutelage.scaling.lines import format_distance, format_interval
from tutelage.scaling.parabola import LEAST_POINTS, near_lowest

_GRID = 40


def lr_law(rows: Sequence[Mapping[str, Any]], bootstraps: int = 1000, seed: int = 0) -> SettingLaw:
    """The best learning rate as a power of N, from rows of a ladder's sweeps; sizes of fewer than 4 rates are left out.

    Raises:
        ValueError: fewer than two sizes have a sweep with a minimum.
    """
    by_size: dict[float, list[tuple[float, float]]] = {}
    for row in rows:
        by_size.setdefault(row["parameters_matrices"], []).append((row["lr"], row["loss"]))
    sweeps = {
        size: (np.array([lr for lr, _ in runs]), np.array([loss for _, loss in runs]))
        for size, runs in by_size.items()
        if len({lr for lr, _ in runs}) >= LEAST_POINTS
    }
    return fit_setting(sweeps, bootstraps, seed)


@dataclass(frozen=True, slots=True)
class TunedSmall:
    """The learning rate of the largest size as the smaller ones predict it, beside that size's own sweep.

    decades: how far the prediction reaches.
    tried:   the rate of the sweep that is nearest to the predicted one; `loss` is its loss.
    best:    the least loss of the sweep, at the rate `best_lr`.
    compute: FLOPs of all smaller trainings and one large one, over those of the sweep.
    """

    size: float
    lr: Interval
    decades: float
    tried: float
    loss: float
    best_lr: float
    best: float
    compute: float


def tune_small(rows: Sequence[Mapping[str, Any]]) -> TunedSmall:
    """Two ways to tune the largest size: a sweep of it, or sweeps of the smaller sizes and the fit through them.

    Raises:
        ValueError: as `lr_law` of the smaller sizes.
    """
    if not rows:
        raise ValueError("there is no sweep")
    size = max(row["parameters_matrices"] for row in rows)
    smaller, large = ([row for row in rows if (row["parameters_matrices"] < size) == is_smaller]
                      for is_smaller in (True, False))  # fmt: skip
    lr, decades = lr_law(smaller).at(size)
    by_lr: dict[float, list[float]] = {}
    for row in large:
        by_lr.setdefault(row["lr"], []).append(row["loss"])
    losses = {rate: float(np.mean(values)) for rate, values in by_lr.items()}
    tried = min(losses, key=lambda rate: abs(np.log(rate / lr.value)))
    best = min(losses, key=lambda rate: losses[rate])
    flops = [sum(row["parameters_matrices"] * row["tokens"] for row in group) for group in (smaller, large)]
    compute = (flops[0] + flops[1] / len(large)) / flops[1]
    return TunedSmall(size, lr, decades, tried, losses[tried], best, losses[best], compute)


def tuning_line(tuned: TunedSmall) -> str:
    """The comparison as a line of text."""
    return (
        f"N = {tuned.size:,.0f} tuned by the smaller sizes: lr {format_interval(tuned.lr)}, "
        f"{format_distance(tuned.decades)}; at {tuned.tried:g} the loss is {tuned.loss - tuned.best:+.4f} beside the "
        f"best of its own sweep, at {tuned.best_lr:g}, for {tuned.compute:.0%} of the compute"
    )


def sweep_lines(law: SettingLaw) -> Iterator[str]:
    """The exponent and the optimum of each size."""
    yield f"best learning rate ~ N^{format_interval(law.exponent)}"
    for size, curve in law.curves.items():
        edge = "" if curve.parabola.inside else "; outside of the sweep"
        yield f"  N = {size:,.0f}: lr {format_interval(curve.optimum)}{edge}"


def sweep_plot(law: SettingLaw, unit: str) -> Html:
    """The loss over the learning rate of each size, with the parabola near its minimum."""
    series = []
    for size, curve in law.curves.items():
        order, name = np.argsort(curve.values), f"N = {size:,.0f}"
        series.append(Series(name, curve.values[order], curve.losses[order]))
        near = curve.values[near_lowest(np.log(curve.values), curve.losses)]
        grid = np.geomspace(near.min(), near.max(), _GRID)
        series.append(Series(f"{name}, parabola", grid, curve.parabola.at(np.log(grid)), dashed=True))
    return line_plot(series, x_label="learning rate", y_label=f"held-out loss, {unit}", log_x=True)
