"""What a finding is, and what trying it yields: plain data, of which pages and pictures are made later."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from tutelage.lab.bench import Bench
from tutelage.lab.figures import Estimate

# "not at this scale" is said wherever the intervals decide neither way: the claim may hold for larger models or more
# data, and nothing here speaks against it.
Verdict = Literal["reproduced", "not at this scale", "contradicted"]


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rows of words and figures below a header of as many words."""

    header: Sequence[str]
    rows: Sequence[Sequence[str | Estimate]]

    def __post_init__(self) -> None:
        assert all(len(row) == len(self.header) for row in self.rows), (
            "every row has a cell for each word of the header"
        )


class Bar(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row of an interval plot; neighbours of one label share it, and rows of one group a colour."""

    label: str
    group: str
    estimate: Estimate


class IntervalPlot(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="intervals", tag_field="kind"):
    """Figures with their intervals, a row each."""

    title: str
    x_label: str
    bars: Sequence[Bar]


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A curve: a figure for each x."""

    name: str
    x: Sequence[float]
    y: Sequence[Estimate]


class LinePlot(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="lines", tag_field="kind"):
    """Curves with their intervals as bands."""

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    log_x: bool = False


Plot = IntervalPlot | LinePlot


@dataclass(frozen=True)
class Result:
    """What a finding came to. The verdict follows from the figures by the finding's own rule; `why` gives them."""

    table: Table
    plots: Sequence[Plot]
    verdict: Verdict
    why: str


@dataclass(frozen=True)
class Finding:
    """A claim, and how it is tried here.

    number, name: its number in the list of findings, and a short name for files, such as "learning-rate".
    claim, source, published: what is claimed, by whom, and the figures they gave.
    setup:        what is done here, with its sizes, in words.
    folder:       where its recipe is run in the lab's cache. Findings whose stages go on from one base share a folder,
                  and so share the base.
    recipe:       the recipe in TOML.
    quick:        overrides that shrink it to seconds, to try the way and not the claim.
    measure:      runs the recipe on a bench and judges the figures.
    """

    number: int
    name: str
    claim: str
    source: str
    published: str
    setup: str
    folder: str
    recipe: str
    quick: tuple[str, ...]
    measure: Callable[[Bench], Result]
