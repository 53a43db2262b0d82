"""What a verifier takes and returns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

Outcome = Literal["right", "wrong", "unparsable", "abstained", "timed out"]
Gold = str | float | Sequence[str | float]  # several: each is right


@dataclass(frozen=True, slots=True)
class Score:
    """The outcome of an answer, and what was read from it, for display."""

    outcome: Outcome
    extracted: str = ""


Verifier = Callable[[str, Gold], Score]


def gold_texts(gold: Gold) -> list[str]:
    """The right answers as texts. Raises ValueError where there is none: it would make every answer wrong, or right."""
    values = [gold] if isinstance(gold, str | int | float) else list(gold)
    texts = [str(value).strip() for value in values]
    if not texts or not all(texts):
        raise ValueError(f"the gold answer {gold!r} is empty: give one, or leave the item out")
    return texts
