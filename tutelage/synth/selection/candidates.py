"""What a selection chooses from, what it may measure, and what it decides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tutelage.records import Conversation
from tutelage.world.keyed_random import KeyedRandom


def _needs(what: str) -> Callable[..., Any]:
    def missing(*_: Any) -> Any:
        raise ValueError(what)

    return missing


_NO_MODEL = _needs("this selection needs a model: --model M")
_NO_JUDGE = _needs("this selection needs a judge: --judge URL|DIR")


@dataclass(frozen=True)
class Candidates:
    """Conversations to choose from; memory holds all of them.

    rows:       in the order of the file.
    keep:       how many to keep, at most.
    sources:    the source of each row, "" where the data does not say it.
    losses:     mean nats per trained token of each row under the model, float64 [N]; NaN where it cannot be rendered.
    embeddings: a vector for each row, float32 [N, D], of length 1.
    successes:  the share of the model's samples that give the row's final answer, float64 [N]; NaN where it has none.
    scores:     a judge's score of each row by criteria, float64 [N]; NaN where it gave none.
    """

    rows: Sequence[Conversation]
    keep: int
    seed: int = 0
    sources: Sequence[str] = ()
    losses: Callable[[], np.ndarray] = _NO_MODEL
    embeddings: Callable[[], np.ndarray] = _NO_MODEL
    successes: Callable[[], np.ndarray] = _NO_MODEL
    scores: Callable[[str], np.ndarray] = _NO_JUDGE

    def random(self, *key: int | str) -> KeyedRandom:
        """A source of chance."""
        return KeyedRandom("select", self.seed, *key)


@dataclass
class Decision:
    """The rows that are kept, each with its score, in order of merit; and why others are not. The rest were worse than
    those."""

    kept: dict[int, float] = field(default_factory=dict)
    dropped: dict[int, str] = field(default_factory=dict)


def best(scores: np.ndarray, keep: int, dropped: dict[int, str] | None = None) -> Decision:
    """The rows with the highest scores; of equal ones the earlier. Rows that are dropped, or have no score, are out."""
    dropped = dict(dropped or {})
    dropped |= {int(row): "no score" for row in np.flatnonzero(np.isnan(scores)) if int(row) not in dropped}
    order = [row for row in np.argsort(-scores, kind="stable").tolist() if row not in dropped]
    return Decision({row: float(scores[row]) for row in order[:keep]}, dropped)


def answers(row: Conversation) -> list[str]:
    """The assistant's texts."""
    return [turn.text for turn in row.messages if turn.role == "assistant"]
