"""An analysis as lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tutelage.scaling.analysis import Analysis
from tutelage.scaling.fit import Interval
from tutelage.scaling.points import COUNTS

_DISTANCE = {"tokens_per_parameter": "tokens per parameter"}


def format_interval(found: Interval, digits: int = 3) -> str:
    """An estimate with its interval, such as "0.513 (0.484 to 0.554)"."""
    value, low, high = (f"{number:.{digits}g}" for number in (found.value, found.low, found.high))
    return f"{value} ({low} to {high})"


def format_distance(decades: float) -> str:
    """How far an extrapolation goes."""
    return f"{decades:.1f} decades beyond the points" if decades else "within the points"


def analysis_lines(
    analysis: Analysis, budgets: Sequence[float] = (), models: Sequence[tuple[float, float]] = ()
) -> Iterator[str]:
    """Every result with its 95% interval, and every extrapolation with its distance."""
    points = analysis.points
    yield f"{len(points)} points, loss in {points.unit}; N counts {COUNTS[points.count]}"
    for reason, number in points.dropped.items():
        yield f"  dropped {number}: {reason}"
    yield from _chinchilla(analysis)
    yield from _isoflop(analysis)
    if (frontier := analysis.frontier) is not None:
        plain = frontier.to_plain()
        yield f"L(C) = (C0 / C)^gamma on the compute-efficient frontier: gamma {format_interval(plain['exponent'])}"
    yield from _made(analysis)
    for name, reason in analysis.refused.items():
        yield f"{name}: not fitted: {reason}"
    for compute in budgets:
        yield from _optimal(analysis.optimal(compute))
    for model in models:
        yield from _predicted(analysis.predicted(*model))


def _chinchilla(analysis: Analysis) -> Iterator[str]:
    if (fit := analysis.chinchilla) is None:
        return
    plain = fit.to_plain()
    yield f"{plain['law']}, Huber objective {plain['objective']:.4g}, {fit.agreeing} of {fit.starts} starts agree"
    if not fit.converged:
        yield "  warning: some fits did not converge; the intervals are not reliable"
    for name, found in plain["constants"].items():
        yield f"  {name:<6} {format_interval(found, 4)}"
    for name, found in plain["optimal_exponents"].items():
        yield f"  {name} ~ C^{format_interval(found)}"


def _isoflop(analysis: Analysis) -> Iterator[str]:
    if (fit := analysis.isoflop) is None:
        return
    plain = fit.to_plain()
    yield f"isoFLOP, {len(fit.curves)} budgets: N ~ C^{format_interval(plain['exponent_of_N'])}"
    for curve in fit.curves:
        edge = "" if curve.parabola.inside else "; outside of the trained sizes"
        yield f"  {curve.budget:.3g} FLOPs, {len(curve.loss)} points: N = {format_interval(curve.optimum)}{edge}"
    for reason, number in fit.skipped.items():
        yield f"  skipped {number} {reason}"


def _made(analysis: Analysis) -> Iterator[str]:
    if (fit := analysis.made) is None:
        return
    edge = ", the largest that was tried" if fit.at_edge else ""
    yield f"made text, {len(fit.points)} points: best share {format_interval(fit.best)}{edge}"
    yield f"  a token there is worth {format_interval(fit.at_best)} of those without made text"
    for share, found in fit.value.items():
        if share:
            yield f"  at a share of {share:g}: {format_interval(found)}"


def _optimal(result: dict[str, Any]) -> Iterator[str]:
    yield f"compute-optimal at {result['compute']:.3g} FLOPs, {format_distance(result['decades_beyond'])}"
    if (found := result.get("chinchilla")) is not None:
        yield f"  L(N, D): N = {format_interval(found['parameters'])}, D = {format_interval(found['tokens'])}"
        loss = format_interval(found["loss"], 4)
        yield f"  tokens per parameter {format_interval(found['tokens_per_parameter'])}, loss {loss}"
    if (found := result.get("isoflop")) is not None:
        yield f"  isoFLOP: N = {format_interval(found['parameters'])}"


def _predicted(result: dict[str, Any]) -> Iterator[str]:
    at, beyond = result["at"], result["decades_beyond"]
    yield f"N = {at['parameters']:.3g}, D = {at['tokens']:.3g}: loss {format_interval(result['loss'], 4)}"
    yield f"  {format_interval(result['overtraining_cost'])} times the least compute of this loss"
    far = {name: decades for name, decades in beyond.items() if decades}
    named = ", ".join(f"{_DISTANCE.get(name, name)} {decades:.1f}" for name, decades in far.items())
    yield f"  extrapolated, decades beyond the points: {named}" if far else "  within the points"
