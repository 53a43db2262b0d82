"""What an evaluation gives, and what the report needs to know about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tutelage.evaluate.session import EvalSession
from tutelage.evaluate.statistics import Rate

# Raise it when a suite, or decoding, gives other figures for the same model: models are measured again.
EVALUATION = 2

# Of each figure every item's id, and whether it succeeded (1) or not (0).
Outcomes = Mapping[str, Sequence[tuple[str, int]]]


@dataclass(frozen=True)
class Results:
    """The figures of one suite on one model.

    rates:    shares with their 95% intervals, by dotted name.
    outcomes: for rates that keep them, each item's id and outcome, so that two models can be compared item by item.
    samples:  items for people to read.
    figures:  numbers that are not shares, in nested tables.
    """

    rates: Mapping[str, Rate]
    outcomes: Mapping[str, Any] = field(default_factory=dict)
    samples: Sequence[Mapping[str, Any]] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)

    def to_plain(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class RateGroup:
    """Rates that are drawn together in the report: those of `names`, or with None all that no other group names."""

    title: str
    note: str
    names: Sequence[str] | None = None


@dataclass(frozen=True)
class Suite:
    """An evaluation.

    needs:  what a session must hold for it, of `session.NEEDS`.
    run:    evaluates the session's model.
    labels: how people call each rate, in the order in which they are shown. A rate that is not listed is shown by its
            name.
    groups: how the rates are grouped in the report.
    """

    name: str
    needs: frozenset[str]
    run: Callable[[EvalSession], Results]
    labels: Mapping[str, str]
    groups: Sequence[RateGroup]
    lower_is_better: frozenset[str] = frozenset()


def outcomes_of(names: Sequence[str], passed: Sequence[bool]) -> list[tuple[str, int]]:
    """Each item's id with its outcome."""
    return [(name, int(success)) for name, success in zip(names, passed, strict=True)]
