"""The learning rate over the sizes of a ladder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tutelage.html import Html, Series, line_plot
from tutelage.scaling.hyperparameters import SettingLaw, fit_setting
from tutelage.scaling.lines import format_interval
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
