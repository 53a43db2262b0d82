"""Data types: a finding, and the conclusion of its replication, from which pages and plots are made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from tutelage.lab.estimates import Estimate
from tutelage.lab.run_cache import RunCache
from tutelage.lab.verdict import Effect, Needed
from tutelage.model.checkpoint import Checkpoint


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of texts and estimates; every row is as long as the header."""

    header: Sequence[str]
    rows: Sequence[Sequence[str | Estimate]]

    def __post_init__(self) -> None:
        assert all(len(row) == len(self.header) for row in self.rows), "every row is as long as the header"


class Bar(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row of an interval plot; adjacent rows with the same label share it, rows of the same group share a colour."""

    label: str
    group: str
    estimate: Estimate


class IntervalPlot(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="intervals", tag_field="kind"):
    """Estimates with intervals, one per row."""

    title: str
    x_label: str
    bars: Sequence[Bar]


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A curve: an estimate per x."""

    name: str
    x: Sequence[float]
    y: Sequence[Estimate]


class LinePlot(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="lines", tag_field="kind"):
    """Curves with intervals as bands."""

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    log_x: bool = False


Plot = IntervalPlot | LinePlot


@dataclass(frozen=True)
class Conclusion:
    """What a replication measured.

    Args:
        table, plots: everything measured.
        primary: the effects that decide, as the claim predicts them.
        control: an effect that must be seen, or the experiment could not have shown the primary ones.
        needed: whether the claim needs all primary effects, or any.
    """

    table: Table
    plots: Sequence[Plot]
    primary: Sequence[Effect]
    control: Effect
    needed: Needed = "all"


@dataclass(frozen=True)
class Finding:
    """A published claim and its replication.

    Args:
        number, name: its number in the list of findings, and a short name for files, such as "learning-rate".
        claim, source, published: the claim, its source, and the published results.
        setup: the replication in words, with model and data sizes.
        folder: where its recipe runs in the lab's cache. Findings on the same base share a folder, and so the base.
        recipe: the recipe in TOML.
        quick: overrides that shrink it to seconds, to test the code and not the claim.
        measure: runs the recipe and measures.
        minutes: how long it takes on two cores, the shared base apart.
    """

    number: str
    name: str
    claim: str
    source: str
    published: str
    setup: str
    folder: str
    recipe: str
    quick: tuple[str, ...]
    measure: Callable[[RunCache], Conclusion]
    minutes: float


@dataclass(frozen=True)
class ModelMeasurement:
    """The second measurement of a finding, on a published checkpoint.

    Args:
        number: that of the finding.
        claim, source, published, setup: as those of a finding; of a claim with several parts the one that is measured.
        measure: takes the model, and whether to measure a few items only, to test the code and not the claim.
    """

    number: str
    claim: str
    source: str
    published: str
    setup: str
    measure: Callable[[Checkpoint, bool], Conclusion]
