"""Estimates with intervals, one per row: a dot with whiskers, and the figures beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tutelage.html.drawing import (
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
    wrapped,
)
from tutelage.html.markup import Html
from tutelage.html.scales import Scale, drawable, span, tick_labels, ticks

_ROW = 26
_LINE = 17


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and its interval. Rows of a `group` share a colour; consecutive rows with one label share it."""

    label: str
    value: float
    low: float
    high: float
    group: str = ""


def interval_plot(rows: Sequence[Interval], *, x_label: str, percent: bool = True, title: str = "") -> Html:
    """A dot with whiskers per row, on a common axis; `percent` formats shares from 0 to 1 as percentages.

    A row whose value is not finite is listed as "no value".

    Raises:
        ValueError: a value lies outside its own interval.
    """
    for row in rows:
        if not row.low - 1e-9 <= row.value <= row.high + 1e-9 and all(
            map(math.isfinite, (row.low, row.value, row.high))
        ):
            raise ValueError(f"{row.label!r}: {row.value:g} lies outside its interval, {row.low:g} to {row.high:g}")
    if not rows:
        return figure(lambda width: _nothing(title or x_label, width))
    values = np.array([[row.value, row.low, row.high] for row in rows], np.float64).reshape(-1)
    low, high = span(values, log=False, margin=0.04)
    inside = values[drawable(values)]
    if percent and (inside >= 0).all() and (inside <= 1).all():
        low, high = max(low, 0.0), min(high, 1.0)
    colours = {group: colour_of(number) for number, group in enumerate(dict.fromkeys(row.group for row in rows))}
    caption = f"{title or x_label}: " + "; ".join(f"{row.label} {row.group} {_figures(row, percent)}" for row in rows)
    return figure(lambda width: _drawing(rows, (low, high), colours, x_label, percent, title, caption, width))


def _nothing(caption: str, width: int) -> Html:
    return canvas(width, 40, caption, text_line(f"{caption}: nothing to draw", 0, 24, "axis"))


def _drawing(
    rows: Sequence[Interval],
    x_span: tuple[float, float],
    colours: dict[str, int],
    x_label: str,
    percent: bool,
    title: str,
    caption: str,
    width: int,
) -> Html:
    """The plot at one width: labels are left of the rows if it is wide, else above them."""
    wide = width == WIDE
    keys = [Key(group, colour, line=False) for group, colour in colours.items() if group] if len(colours) > 1 else []
    parts, top = head(title, keys, width)
    figures = [_figures(row, percent) for row in rows]
    left = min(0.4 * width, label_width([row.label for row in rows]) + 18) if wide else 8.0
    right = width - label_width(figures) * 0.95 - 14
    scale = Scale(*x_span, left, right)
    row_parts: list[Html] = []
    y = top + 4
    for number, row in enumerate(rows):
        if number == 0 or row.label != rows[number - 1].label:
            lines = wrapped(row.label, left - 14 if wide else width)
            y += 6 * (number > 0)
            first = y + (_ROW / 2 + 4.5 if wide else _LINE)
            row_parts += [text_line(line, 0, first + _LINE * index, "label") for index, line in enumerate(lines)]
            below = y + _LINE * len(lines) + 6
            y += 0 if wide else _LINE * len(lines)
        middle = y + _ROW / 2
        row_parts += _whisker(row, scale, middle, colours[row.group])
        row_parts.append(text_line(figures[number], width, middle + 4.5, "figures", "end"))
        y += _ROW
        if wide and (number + 1 == len(rows) or rows[number + 1].label != row.label):
            y = max(y, below)
    bottom = y + 4
    at = ticks(*x_span, 6 if wide else 3)
    for tick, label in zip(at, tick_labels(at, percent=percent), strict=True):
        x = float(scale(tick))
        parts.append(rule(x, top + 2, x, bottom, "base" if tick == 0 else "grid"))
        parts.append(text_line(label, x, bottom + 17, "axis", "middle" if x > 14 else "start"))
    parts.append(text_line(x_label, right, bottom + 37, "axis", "end"))
    return canvas(width, bottom + 45, caption, *parts, *row_parts)


def _whisker(row: Interval, scale: Scale, y: float, colour: int) -> list[Html]:
    parts = []
    if drawable(np.array([row.low, row.high])).all():
        low, high = (float(scale(end)) for end in (row.low, row.high))
        ends = f"M{place(low)} {place(y - 4)}v8M{place(low)} {place(y)}H{place(high)}M{place(high)} {place(y - 4)}v8"
        parts.append(path(ends, f"whisker s{colour}"))
    if drawable(np.array([row.value])).all():
        parts.append(marks([(float(scale(row.value)), y)], colour))
    return parts


def _figures(row: Interval, percent: bool) -> str:
    """An estimate and its interval as text."""
    if not math.isfinite(row.value):
        return "no value"
    low, high = (f"{100 * end:.1f}" if percent else f"{end:.3g}" for end in (row.low, row.high))
    return f"{f'{row.value:.1%}' if percent else f'{row.value:.3g}'} ({low} to {high})".replace("-", "−")
