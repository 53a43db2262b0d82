"""An analysis as one HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tutelage.html import Html, Series, code, line_plot, page, section, table
from tutelage.scaling.analysis import Analysis
from tutelage.scaling.baselines import comparison_lines
from tutelage.scaling.fit import ChinchillaFit, Interval, frontier
from tutelage.scaling.isoflop import IsoFlopFit
from tutelage.scaling.lines import analysis_lines, format_interval
from tutelage.scaling.points import COUNTS, Points

_GRID = 40


def scaling_page(
    analysis: Analysis, budgets: Sequence[float] = (), models: Sequence[tuple[float, float]] = (), title: str = ""
) -> str:
    """The page of an analysis."""
    points = analysis.points
    lead = f"{len(points)} trainings. N counts {COUNTS[points.count]}."
    parts = analysis_sections(analysis, budgets, models)
    return page(f"Scaling law{f': {title}' if title else ''}", parts, lead)


def analysis_sections(
    analysis: Analysis, budgets: Sequence[float] = (), models: Sequence[tuple[float, float]] = ()
) -> list[Html]:
    """Results, curves and points of an analysis."""
    points = analysis.points
    parts = [section("Results", code("\n".join(analysis_lines(analysis, budgets, models))), note="Intervals are 95%.")]
    if analysis.isoflop is not None:
        note = "Each budget with its parabola; the exponent is that of the minima."
        parts.append(section("isoFLOP curves", _isoflop_plot(analysis.isoflop, points.unit), note=note))
    if analysis.chinchilla is not None:
        fit = analysis.chinchilla
        far = max([points.compute.max() * 10, *budgets])
        note = "Bands are 95% intervals. Beyond the largest point, both curves are extrapolated."
        parts.append(section("Compute-optimal models", *_optimum_plots(analysis, far), note=note))
        parts.append(section("Constants", _constants(fit)))
    parts.append(section("Points", _points(points)))
    return parts


def baselines_page(result: Mapping[str, Any]) -> str:
    """The page of a comparison with baselines (`baselines.comparison`)."""
    edges = result["positions"]
    series = [Series(row["name"], edges[:-1], row["by_position"]) for row in result["models"]]
    plot = line_plot(series, x_label="tokens before", y_label=f"held-out loss, {result['unit']}", log_x=True)
    parts = [section("Results", code("\n".join(comparison_lines(result)))), section("Loss by position", plot)]
    return page("Baselines", parts, f"Held-out loss on {result['tokens']:,} tokens.")


def _isoflop_plot(fit: IsoFlopFit, unit: str) -> Html:
    series = []
    for curve in fit.curves:
        order = np.argsort(curve.parameters)
        grid = np.geomspace(curve.parameters.min(), curve.parameters.max(), _GRID)
        name = f"{curve.budget:.3g} FLOPs"
        series.append(Series(name, curve.parameters[order], curve.loss[order]))
        series.append(Series(f"{name}, parabola", grid, curve.parabola.at(np.log(grid)), dashed=True))
    return line_plot(series, x_label="N, parameters", y_label=f"held-out loss, {unit}", log_x=True)


def _optimum_plots(analysis: Analysis, far: float) -> list[Html]:
    """Optimal size and its loss over compute, from the smallest point to `far`."""
    measured = analysis.points
    compute = np.geomspace(measured.compute.min(), far, _GRID)
    optimal = [analysis.optimal(float(budget)) for budget in compute]
    by_size = [_band("L(N, D)", compute, [found["chinchilla"]["parameters"] for found in optimal])]
    if analysis.isoflop is not None:
        by_size.append(_band("isoFLOP", compute, [found["isoflop"]["parameters"] for found in optimal]))
    best = frontier(measured)
    order = np.argsort(best.compute)
    by_loss = [_band("L(N, D)", compute, [found["chinchilla"]["loss"] for found in optimal])]
    by_loss.append(Series("compute-efficient frontier of the points", best.compute[order], best.loss[order]))
    return [
        line_plot(by_size, x_label="compute, FLOPs", y_label="optimal N", log_x=True, log_y=True),
        line_plot(by_loss, x_label="compute, FLOPs", y_label=f"loss, {measured.unit}", log_x=True),
    ]


def _band(name: str, x: np.ndarray, intervals: Sequence[Interval]) -> Series:
    value, low, high = np.array([(found.value, found.low, found.high) for found in intervals]).T
    return Series(name, x, value, low, high)


def _constants(fit: ChinchillaFit) -> Html:
    plain = fit.to_plain()
    rows = [[name, format_interval(found, 4), f"{found.error:.3g}"] for name, found in plain["constants"].items()]
    return table(["constant", "estimate", "standard error"], rows, numeric=[1, 2])


def _points(points: Points) -> Html:
    columns = (points.parameters, points.tokens, points.compute, points.loss)
    rows = [[f"{n:.4g}", f"{d:.4g}", f"{c:.4g}", f"{loss:.4f}"] for n, d, c, loss in zip(*columns, strict=True)]
    return table(["N", "D, tokens", "C, FLOPs", f"loss, {points.unit}"], rows, numeric=[0, 1, 2, 3])
