"""Curves with bands, as inline SVG that shows its values under the pointer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tutelage.html.drawing import (
    NARROW,
    WIDE,
    Key,
    canvas,
    colour_of,
    figure,
    head,
    label_width,
    marks,
    path,
    place,
    rule,
    text_line,
)
from tutelage.html.markup import Html
from tutelage.html.scales import Scale, drawable, span, thin, tick_labels, ticks

_PLOT_HEIGHT = {WIDE: 270, NARROW: 220}
_MAX_MARKS = 24  # a line of at most so many points has a mark at each
_COLUMN = 2.0  # points closer than this on the x axis are thinned


@dataclass(frozen=True, eq=False, slots=True)
class Series:
    """A named curve, y over x, [P] each, with an optional band from `low` to `high`; values that are not finite leave
    gaps."""

    name: str
    x: Sequence[float] | np.ndarray
    y: Sequence[float] | np.ndarray
    low: Sequence[float] | np.ndarray | None = None
    high: Sequence[float] | np.ndarray | None = None
    dashed: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class _Curve:
    """A series as float64 [P]; `shown`, `band`: where the point or the band can be drawn, bool [P]."""

    name: str
    colour: int
    dashed: bool
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray
    high: np.ndarray
    shown: np.ndarray
    band: np.ndarray


@dataclass(frozen=True, slots=True)
class _Axes:
    x_label: str
    y_label: str
    log_x: bool
    log_y: bool
    percent: bool
    x_span: tuple[float, float]
    y_span: tuple[float, float]


def line_plot(
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    log_x: bool = False,
    log_y: bool = False,
    percent: bool = False,
    title: str = "",
) -> Html:
    """Curves on common axes; `percent` formats y, a share from 0 to 1, as a percentage.

    Thousands of points are thinned without losing a peak. Points that cannot be drawn (not finite, or not positive on
    a logarithmic axis) leave gaps and are counted under the plot.

    Raises:
        ValueError: x, y, low and high of a series differ in length, or only one of low and high is given.
    """
    curves = [_curve(one_series, number, log_x, log_y) for number, one_series in enumerate(series)]
    heights = [
        np.concatenate([curve.y[curve.shown], curve.low[curve.band], curve.high[curve.band]]) for curve in curves
    ]
    lowest, highest = span(np.concatenate([*heights, np.zeros(0)]), log_y, margin=0.06)
    if percent and heights and all((height >= 0).all() and (height <= 1).all() for height in heights):
        lowest, highest = max(lowest, 0.0), min(highest, 1.0)
    first, last = span(np.concatenate([*(curve.x[curve.shown] for curve in curves), np.zeros(0)]), log_x)
    if not log_x and 0 < first < 0.1 * last:
        first = 0.0  # steps count from 1, but an axis reads better from 0
    axes = _Axes(x_label, y_label, log_x, log_y, percent, (first, last), (lowest, highest))
    caption = f"{title or y_label} over {x_label}: {', '.join(curve.name for curve in curves) or 'no data'}"
    return figure(
        lambda width: _drawing(curves, axes, title, caption, width),
        _notes(curves, log_x or log_y),
        _data(curves, axes),
    )


def _curve(series: Series, number: int, log_x: bool, log_y: bool) -> _Curve:
    if (series.low is None) != (series.high is None):
        raise ValueError(f"series {series.name!r} has only one edge of its band; give low and high, or neither")
    x, y = np.asarray(series.x, np.float64), np.asarray(series.y, np.float64)
    low = np.full(x.shape, np.nan) if series.low is None else np.asarray(series.low, np.float64)
    high = np.full(x.shape, np.nan) if series.high is None else np.asarray(series.high, np.float64)
    if x.ndim != 1 or not x.shape == y.shape == low.shape == high.shape:
        shapes = ", ".join(str(array.shape) for array in (x, y, low, high))
        raise ValueError(f"series {series.name!r} has x, y, low and high of shapes {shapes}; make them equally long")
    has_x = drawable(x, log_x)
    band = has_x & drawable(low, log_y) & drawable(high, log_y)
    return _Curve(series.name, colour_of(number), series.dashed, x, y, low, high, has_x & drawable(y, log_y), band)


def _notes(curves: Sequence[_Curve], log: bool) -> list[str]:
    missing = sum(int((~curve.shown).sum()) for curve in curves)
    if not missing:
        return []
    reason = "not finite, or not positive on a logarithmic axis" if log else "not finite"
    return [f"{missing:,} {'value is' if missing == 1 else 'values are'} {reason}, and not drawn."]


def _drawing(curves: Sequence[_Curve], axes: _Axes, title: str, caption: str, width: int) -> Html:
    """The plot at one width: title, legend, axes, bands, curves."""
    keys = [Key(curve.name, curve.colour, curve.dashed) for curve in curves] if len(curves) > 1 else []
    parts, top = head(title, keys, width)
    parts.append(text_line(axes.y_label, 0, top + 12, "axis"))
    top += 30
    bottom = top + _PLOT_HEIGHT[width]
    empty = not any(curve.shown.any() for curve in curves)
    y_ticks = [] if empty else ticks(*axes.y_span, 5, axes.log_y)
    y_labels = tick_labels(y_ticks, axes.log_y, axes.percent)
    left, right = label_width(y_labels) + 13, width - 12.0
    x_scale = Scale(*axes.x_span, left, right, axes.log_x)
    y_scale = Scale(*axes.y_span, bottom, top, axes.log_y)
    for tick, label in zip(y_ticks, y_labels, strict=True):
        y = float(y_scale(tick))
        parts += [rule(left, y, right, y, "grid"), text_line(label, left - 8, y + 4.5, "axis", "end")]
    parts.append(rule(left, bottom, right, bottom, "base"))
    x_ticks = [] if empty else ticks(*axes.x_span, 8 if width == WIDE else 4, axes.log_x)
    for tick, label in zip(x_ticks, tick_labels(x_ticks, axes.log_x), strict=True):
        x = float(x_scale(tick))
        anchor = "end" if x > right - 12 else "middle"
        parts += [rule(x, bottom, x, bottom + 5, "base"), text_line(label, min(x, right), bottom + 20, "axis", anchor)]
    parts.append(text_line(axes.x_label, right, bottom + 40, "axis", "end"))
    bands, lines = zip(*(_drawn(curve, x_scale, y_scale) for curve in curves), strict=True) if curves else ((), ())
    parts += [part for group in (*bands, *lines) for part in group]
    if empty:
        parts.append(text_line("nothing to draw", (left + right) / 2, (top + bottom) / 2, "axis", "middle"))
    frame = json.dumps([round(number, 1) for number in (left, right, top, bottom)] + [*axes.x_span, *axes.y_span])
    return canvas(width, bottom + 48, caption, *parts, frame=frame)


def _drawn(curve: _Curve, x_scale: Scale, y_scale: Scale) -> tuple[list[Html], list[Html]]:
    """The band of a curve, and its line with marks."""
    bands, lines, dots = [], [], []
    for run in _runs(curve.band):
        x, low, high = x_scale(curve.x[run]), y_scale(curve.low[run]), y_scale(curve.high[run])
        kept = thin(x, (low, high), _COLUMN)
        edge = [*zip(x[kept], high[kept], strict=True), *zip(x[kept][::-1], low[kept][::-1], strict=True)]
        bands.append(path(f"{_line(edge)}z", f"band s{curve.colour}"))
    with_marks = int(curve.shown.sum()) <= _MAX_MARKS
    commands = ""
    for run in _runs(curve.shown):
        x, y = x_scale(curve.x[run]), y_scale(curve.y[run])
        kept = thin(x, (y,), _COLUMN)
        points = list(zip(x[kept].tolist(), y[kept].tolist(), strict=True))
        commands += _line(points) if len(points) > 1 else ""
        # A point between two gaps has no line.
        dots += points if with_marks or len(points) == 1 else []
    if commands:
        lines.append(path(commands, f"curve s{curve.colour}{' dashed' * curve.dashed}"))
    if dots:
        lines.append(marks(dots, curve.colour))
    return bands, lines


def _runs(shown: np.ndarray) -> list[slice]:
    """The ranges without gaps."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], shown, [False]]).astype(np.int8)))
    return [slice(first, stop) for first, stop in edges.reshape(-1, 2).tolist()]


def _line(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{place(x)} {place(y)}" for x, y in points)


def _data(curves: Sequence[_Curve], axes: _Axes) -> str:
    """The values that the page shows under the pointer: the points of the wide drawing."""
    scale, height = Scale(*axes.x_span, 0, WIDE, axes.log_x), Scale(*axes.y_span, 0, 1, axes.log_y)
    listed = []
    for curve in curves:
        at = np.flatnonzero(curve.shown)
        at = at[thin(scale(curve.x[at]), (height(curve.y[at]),), _COLUMN)] if len(at) else at
        columns = {"x": _rounded(curve.x[at], 8), "y": _rounded(curve.y[at], 5)}
        if curve.band[at].any():
            columns |= {"low": _rounded(curve.low[at], 5), "high": _rounded(curve.high[at], 5)}
        listed.append({"name": curve.name, "colour": curve.colour, **columns})
    shape = {"x": axes.x_label, "logX": axes.log_x, "logY": axes.log_y, "percent": axes.percent}
    return json.dumps({**shape, "series": listed}, separators=(",", ":"))


def _rounded(values: np.ndarray, digits: int) -> list[float | None]:
    return [float(f"{value:.{digits}g}") if np.isfinite(value) else None for value in values.tolist()]
