"""Curves, with bands around them, as inline SVG that shows its values under the pointer."""

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
    words,
)
from tutelage.html.markup import Html
from tutelage.html.scales import Scale, drawable, span, thin, tick_labels, ticks

_PLOT_HEIGHT = {WIDE: 270, NARROW: 220}
_FEW = 24  # a line of at most so many points shows each
_COLUMN = 2.0  # points closer than this on the axis are thinned


@dataclass(frozen=True, eq=False, slots=True)
class Series:
    """A named curve, y over x, [P] each; with a band from `low` to `high` if given. What is not finite leaves a gap."""

    name: str
    x: Sequence[float] | np.ndarray
    y: Sequence[float] | np.ndarray
    low: Sequence[float] | np.ndarray | None = None
    high: Sequence[float] | np.ndarray | None = None
    dashed: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class _Curve:
    """A series as float64 [P]; `shown`: which points have a place on the axes, `band`: where the band has one."""

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
    """Curves over a common axis; `percent` writes y, a share from 0 to 1, in percent.

    Thousands of points are thinned without losing a peak. Points that have no place (not finite, or not positive on a
    logarithmic axis) leave gaps and are counted under the plot.

    Raises:
        ValueError: x, y, low and high of a series differ in length, or only one of low and high is given.
    """
    curves = [_curve(one, number, log_x, log_y) for number, one in enumerate(series)]
    heights = [np.concatenate([one.y[one.shown], one.low[one.band], one.high[one.band]]) for one in curves]
    lowest, highest = span(np.concatenate([*heights, np.zeros(0)]), log_y, margin=0.06)
    if percent and heights and all((height >= 0).all() and (height <= 1).all() for height in heights):
        lowest, highest = max(lowest, 0.0), min(highest, 1.0)
    first, last = span(np.concatenate([*(one.x[one.shown] for one in curves), np.zeros(0)]), log_x)
    if not log_x and 0 < first < 0.1 * last:
        first = 0.0  # steps count from 1, but an axis reads better from 0
    axes = _Axes(x_label, y_label, log_x, log_y, percent, (first, last), (lowest, highest))
    caption = f"{title or y_label} over {x_label}: {', '.join(one.name for one in curves) or 'no data'}"
    return figure(
        lambda width: _drawing(curves, axes, title, caption, width),
        _notes(curves, log_x or log_y),
        _data(curves, axes),
    )


def _curve(series: Series, number: int, log_x: bool, log_y: bool) -> _Curve:
    if (series.low is None) != (series.high is None):
        raise ValueError(f"series {series.name!r} has only one edge of its band; give both low and high, or neither")
    x, y = np.asarray(series.x, np.float64), np.asarray(series.y, np.float64)
    low = np.full(x.shape, np.nan) if series.low is None else np.asarray(series.low, np.float64)
    high = np.full(x.shape, np.nan) if series.high is None else np.asarray(series.high, np.float64)
    if x.ndim != 1 or not x.shape == y.shape == low.shape == high.shape:
        shapes = ", ".join(str(one.shape) for one in (x, y, low, high))
        raise ValueError(f"series {series.name!r} has x, y, low and high of shapes {shapes}; make them equally long")
    has_x = drawable(x, log_x)
    band = has_x & drawable(low, log_y) & drawable(high, log_y)
    return _Curve(series.name, colour_of(number), series.dashed, x, y, low, high, has_x & drawable(y, log_y), band)


def _notes(curves: Sequence[_Curve], log: bool) -> list[str]:
    missing = sum(int((~one.shown).sum()) for one in curves)
    if not missing:
        return []
    reason = "not finite, or not positive on a logarithmic axis" if log else "not finite"
    return [f"{missing:,} {'value is' if missing == 1 else 'values are'} {reason}, and not drawn."]


def _drawing(curves: Sequence[_Curve], axes: _Axes, title: str, caption: str, width: int) -> Html:
    """The whole plot at one width: title, legend, axes, bands, curves."""
    keys = [Key(one.name, one.colour, one.dashed) for one in curves] if len(curves) > 1 else []
    parts, top = head(title, keys, width)
    parts.append(words(axes.y_label, 0, top + 12, "axis"))
    top += 30
    bottom = top + _PLOT_HEIGHT[width]
    empty = not any(one.shown.any() for one in curves)
    y_ticks = [] if empty else ticks(*axes.y_span, 5, axes.log_y)
    y_labels = tick_labels(y_ticks, axes.log_y, axes.percent)
    left, right = label_width(y_labels) + 13, width - 12.0
    x_scale = Scale(*axes.x_span, left, right, axes.log_x)
    y_scale = Scale(*axes.y_span, bottom, top, axes.log_y)
    for tick, label in zip(y_ticks, y_labels, strict=True):
        y = float(y_scale(tick))
        parts += [rule(left, y, right, y, "grid"), words(label, left - 8, y + 4.5, "axis", "end")]
    parts.append(rule(left, bottom, right, bottom, "base"))
    x_ticks = [] if empty else ticks(*axes.x_span, 8 if width == WIDE else 4, axes.log_x)
    for tick, label in zip(x_ticks, tick_labels(x_ticks, axes.log_x), strict=True):
        x = float(x_scale(tick))
        anchor = "end" if x > right - 12 else "middle"
        parts += [rule(x, bottom, x, bottom + 5, "base"), words(label, min(x, right), bottom + 20, "axis", anchor)]
    parts.append(words(axes.x_label, right, bottom + 40, "axis", "end"))
    bands, lines = zip(*(_drawn(one, x_scale, y_scale) for one in curves), strict=True) if curves else ((), ())
    parts += [part for group in (*bands, *lines) for part in group]
    if empty:
        parts.append(words("nothing to draw", (left + right) / 2, (top + bottom) / 2, "axis", "middle"))
    frame = json.dumps([round(number, 1) for number in (left, right, top, bottom)] + [*axes.x_span, *axes.y_span])
    return canvas(width, bottom + 48, caption, *parts, frame=frame)


def _drawn(curve: _Curve, x_scale: Scale, y_scale: Scale) -> tuple[list[Html], list[Html]]:
    """The band of a curve, and its line with its marks."""
    bands, lines, dots = [], [], []
    for run in _runs(curve.band):
        x, low, high = x_scale(curve.x[run]), y_scale(curve.low[run]), y_scale(curve.high[run])
        kept = thin(x, (low, high), _COLUMN)
        edge = [*zip(x[kept], high[kept], strict=True), *zip(x[kept][::-1], low[kept][::-1], strict=True)]
        bands.append(path(f"{_line(edge)}z", f"band s{curve.colour}"))
    few = int(curve.shown.sum()) <= _FEW
    commands = ""
    for run in _runs(curve.shown):
        x, y = x_scale(curve.x[run]), y_scale(curve.y[run])
        kept = thin(x, (y,), _COLUMN)
        points = list(zip(x[kept].tolist(), y[kept].tolist(), strict=True))
        commands += _line(points) if len(points) > 1 else ""
        # A point between two gaps has no line to be seen by.
        dots += points if few or len(points) == 1 else []
    if commands:
        lines.append(path(commands, f"curve s{curve.colour}{' dashed' * curve.dashed}"))
    if dots:
        lines.append(marks(dots, curve.colour))
    return bands, lines


def _runs(shown: np.ndarray) -> list[slice]:
    """The stretches without gaps."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], shown, [False]]).astype(np.int8)))
    return [slice(first, stop) for first, stop in edges.reshape(-1, 2).tolist()]


def _line(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{place(x)} {place(y)}" for x, y in points)


def _data(curves: Sequence[_Curve], axes: _Axes) -> str:
    """The values that the page shows under the pointer: those that the wide drawing shows too."""
    scale, height = Scale(*axes.x_span, 0, WIDE, axes.log_x), Scale(*axes.y_span, 0, 1, axes.log_y)
    listed = []
    for one in curves:
        at = np.flatnonzero(one.shown)
        at = at[thin(scale(one.x[at]), (height(one.y[at]),), _COLUMN)] if len(at) else at
        columns = {"x": _rounded(one.x[at], 8), "y": _rounded(one.y[at], 5)}
        if one.band[at].any():
            columns |= {"low": _rounded(one.low[at], 5), "high": _rounded(one.high[at], 5)}
        listed.append({"name": one.name, "colour": one.colour, **columns})
    shape = {"x": axes.x_label, "logX": axes.log_x, "logY": axes.log_y, "percent": axes.percent}
    return json.dumps({**shape, "series": listed}, separators=(",", ":"))


def _rounded(values: np.ndarray, digits: int) -> list[float | None]:
    return [float(f"{value:.{digits}g}") if np.isfinite(value) else None for value in values.tolist()]
