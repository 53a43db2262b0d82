"""Shared parts of all plots: the SVG frame, the legend, and line wrapping, which SVG does not do itself.

Every plot is drawn twice, wide and narrow, and the page shows the one that fits, so that text keeps its size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tutelage.html.markup import Html, tag
from tutelage.html.palette import SERIES

WIDE, NARROW = 720, 400
TEXT = 13  # font size, in the units of the drawing
_LINE = 17  # line height
_CHARACTER = 0.56 * TEXT  # the estimated average width of a character


@dataclass(frozen=True, slots=True)
class Key:
    """An entry of a legend: its name, the number of its colour from 1, and its line style."""

    name: str
    colour: int
    dashed: bool = False
    line: bool = True


def colour_of(number: int) -> int:
    """The colour of the series with this number, counted from 0; colours repeat when there are more series."""
    return number % SERIES + 1


def figure(draw: Callable[[int], Html], notes: Sequence[str] = (), data: str = "") -> Html:
    """A plot as a figure: `draw` gives the SVG for a width, `data` is JSON for the values shown under the pointer."""
    attributes = {"class": "plot", **({"data-plot": data} if data else {})}
    small = tag("figcaption", " ".join(notes), attributes={"class": "note"}) if notes else None
    return tag("figure", draw(WIDE), draw(NARROW), small, attributes=attributes)


def canvas(width: int, height: float, title: str, *parts: Html, frame: str = "") -> Html:
    """One SVG drawing; `frame` gives the page's script the position of the axes."""
    attributes = {
        "class": "wide" if width == WIDE else "narrow",
        "viewBox": f"0 0 {width} {place(height)}",
        "role": "img",
        **({"data-frame": frame} if frame else {}),
    }
    return tag("svg", tag("title", title), *parts, attributes=attributes)


def place(value: float) -> str:
    """A coordinate, rounded to a tenth."""
    return (
        f"{value:.1f}".removesuffix(".0").replace("-0", "0") if abs(value) < 0.05 else f"{value:.1f}".removesuffix(".0")
    )


def text_line(text: str, x: float, y: float, style: str = "", anchor: str = "start") -> Html:
    """A line of text."""
    attributes = {"x": place(x), "y": place(y)}
    if style:
        attributes["class"] = style
    if anchor != "start":
        attributes["text-anchor"] = anchor
    return tag("text", text, attributes=attributes)


def rule(x1: float, y1: float, x2: float, y2: float, style: str) -> Html:
    """A straight line."""
    ends = {"x1": place(x1), "y1": place(y1), "x2": place(x2), "y2": place(y2)}
    return tag("line", attributes={"class": style, **ends})


def path(commands: str, style: str) -> Html:
    """A line or area of many points."""
    return tag("path", attributes={"class": style, "d": commands})


_SHAPES = (
    "m-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",  # circle
    "m-3.6-3.6h7.2v7.2h-7.2z",  # square
    "m0-5l5 5l-5 5l-5-5z",  # diamond
    "m0-5l4.8 8.4h-9.6z",  # triangle
    "m0 5l4.8-8.4h-9.6z",  # triangle upside down
    "m-1.6-5h3.2v3.4h3.4v3.2h-3.4v3.4h-3.2v-3.4h-3.4v-3.2h3.4z",  # cross
)


def marks(points: Sequence[tuple[float, float]], colour: int) -> Html:
    """A mark at each point; each colour has its own shape."""
    shape = _SHAPES[(colour - 1) % len(_SHAPES)]
    return path("".join(f"M{place(x)} {place(y)}{shape}" for x, y in points), f"mark s{colour}")


def wrapped(text: str, width: float, size: float = TEXT) -> list[str]:
    """Text in lines of about `width`; a longer word gets a line of its own."""
    max_characters = max(1, math.floor(width / (_CHARACTER * size / TEXT)))
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + 1 + len(word) <= max_characters:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def head(title: str, keys: Sequence[Key], width: int) -> tuple[list[Html], float]:
    """The wrapped title and legend, and their height."""
    parts: list[Html] = []
    y = 0.0
    for line in wrapped(title, width, TEXT * 1.2):
        y += _LINE * 1.2
        parts.append(text_line(line, 0, y - 4, "title"))
    if not keys:
        return parts, y + (6 if title else 0)
    y += _LINE + (8 if title else 0)
    x = 0.0
    for key in keys:
        start = 26 if key.line else 16
        key_width = start + len(key.name) * _CHARACTER + 18
        if x and x + key_width - 18 > width:
            x, y = 0.0, y + _LINE + 3
        if key.line:
            parts.append(path(f"M{place(x)} {place(y - 4.5)}h20", f"curve s{key.colour}{' dashed' * key.dashed}"))
        else:
            parts.append(marks([(x + 5, y - 4.5)], key.colour))
        parts.append(text_line(key.name, x + start, y))
        x += key_width
    return parts, y + 16


def label_width(labels: Sequence[str]) -> float:
    """The width of the longest label."""
    return max((len(label) for label in labels), default=0) * _CHARACTER
