"""The reading order of a page of a PDF whose content goes across its columns, line by line. Most programs write one
column after the other; their order is kept."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, pairwise
from statistics import median
from typing import NamedTuple

import numpy as np

_FEWEST_LINES = 6  # of text on both sides of a gutter
_MOST_LINES_ACROSS = 0.5  # of the lines: so many at least go on beyond the gutter
_EMPTY = 0.1  # of the lines may cross a gutter: titles, pictures
_MIDDLE = (0.15, 0.85)  # of the width of a page: where a gutter is looked for
_NARROWEST = 12.0  # heights of a line that a column is wide; the cells of tables are narrower
_FULL = 0.6  # of the width of a column that lines of prose fill on average
_GUTTER = 0.7  # heights of a line


class Box(NamedTuple):
    """A rectangle on a page, in points; `bottom` is below `top`."""

    left: float
    bottom: float
    right: float
    top: float


def column_order(boxes: Sequence[Box]) -> list[Box]:
    """The regions of a page in reading order, if its content goes across columns; [] if its own order is that.

    boxes: those of the pieces of text, in the order of the content.
    """
    boxes = [box for box in boxes if box.right > box.left and box.top > box.bottom]
    gutter = _gutter(boxes)
    if gutter is None or _lines_across(boxes, gutter) < _FEWEST_LINES:
        return []
    rows = _rows(boxes)
    if _lines_across(boxes, gutter) < _MOST_LINES_ACROSS * sum(_is_split(row, gutter) for row in rows):
        return []
    regions: list[Box] = []
    columns = 0
    for split, band in groupby(rows, lambda row: _is_split(row, gutter)):
        inside = {box for row in band for box in row}
        if not split:
            regions.append(_hull(inside))
            continue
        sides = [
            [box for box in boxes if box in inside and (box.right <= gutter.right) == first] for first in (True, False)
        ]
        for side in filter(None, sides):
            regions += column_order(side) or [_hull(side)]
            columns += len(_rows(side)) >= _FEWEST_LINES and _is_prose(side)
    return regions if columns >= 2 else []


def _gutter(boxes: Sequence[Box]) -> Box | None:
    """The widest stripe in the middle that hardly any line crosses."""
    if len(boxes) < 2 * _FEWEST_LINES:
        return None
    hull, height = _hull(boxes), median(box.top - box.bottom for box in boxes)
    crossed = np.zeros(int(hull.right - hull.left) + 2)
    for box in boxes:
        crossed[int(box.left - hull.left) : int(box.right - hull.left) + 1] += box.top - box.bottom
    first, last = (int(share * len(crossed)) for share in _MIDDLE)
    empty = crossed <= _EMPTY * (hull.top - hull.bottom)
    best: tuple[int, int] = (0, 0)
    begin = first
    for at in range(first, last + 1):
        if at == last or not empty[at]:
            best = max(best, (at - begin, begin))
            begin = at + 1
    if best[0] < max(_GUTTER * height, 1):
        return None
    left = hull.left + best[1]
    return Box(left, hull.bottom, left + best[0], hull.top)


def _lines_across(boxes: Sequence[Box], gutter: Box) -> int:
    """How often a piece of text right of the gutter follows one left of it on the same line."""
    middle = (gutter.left + gutter.right) / 2
    return sum(
        before.right <= middle <= after.left
        and min(before.top, after.top) - max(before.bottom, after.bottom) > (before.top - before.bottom) / 2
        for before, after in pairwise(boxes)
    )


def _rows(boxes: Sequence[Box]) -> list[list[Box]]:
    """The pieces of text on the same line, from top to bottom."""
    rows: list[list[Box]] = []
    for box in sorted(boxes, key=lambda box: -box.top):
        middle = (box.top + box.bottom) / 2
        if rows and any(other.bottom < middle < other.top for other in rows[-1][-3:]):
            rows[-1].append(box)
        else:
            rows.append([box])
    return rows


def _is_split(row: Sequence[Box], gutter: Box) -> bool:
    """Whether no piece of a line reaches into the gutter."""
    middle = (gutter.left + gutter.right) / 2
    return all(box.right <= middle or box.left >= middle for box in row)


def _is_prose(boxes: Sequence[Box]) -> bool:
    hull, height = _hull(boxes), median(box.top - box.bottom for box in boxes)
    widths = [_hull(row).right - _hull(row).left for row in _rows(boxes)]
    width = hull.right - hull.left
    return width >= _NARROWEST * height and sum(widths) >= _FULL * width * len(widths)


def _hull(boxes: Sequence[Box] | set[Box]) -> Box:
    return Box(
        min(box.left for box in boxes), min(box.bottom for box in boxes),
        max(box.right for box in boxes), max(box.top for box in boxes),
    )  # fmt: skip
