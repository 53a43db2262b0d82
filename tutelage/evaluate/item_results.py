"""What became of each item of a benchmark: written as JSON lines, read by comparisons, pages and people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from tutelage.files import explain, write_bytes

# Outcomes that are no fault of the answer's content stand apart from wrong:
#   unparsable: no answer could be read; refused: it declines; abstained: it says that it does not know, or calls no
#   function; broken: a function call does not parse; cut off: it reached the limit of tokens and is not right;
#   timed out: its program did not end; too long: the question does not fit into the context and was not asked.
ItemOutcome = Literal[
    "right", "wrong", "unparsable", "refused", "abstained", "broken", "cut off", "timed out", "too long"
]
OUTCOMES: tuple[ItemOutcome, ...] = ItemOutcome.__args__  # type: ignore[attr-defined]

ITEMS = "items.jsonl"


class Sample(msgspec.Struct, frozen=True):
    """An answer that the model wrote.

    passed:  whether it is right, by the rule that reads it, such as "lenient" and "strict".
    tokens:  how many tokens it has, the stop token included.
    logprob: their log-probabilities under the model, summed, in nats.
    """

    text: str
    outcome: ItemOutcome
    passed: dict[str, bool] = {}
    extracted: str = ""
    tokens: int = 0
    logprob: float = 0.0


class ItemResult(msgspec.Struct, frozen=True):
    """An item with what a model made of it.

    id, group: as the item's; the group is its subject or category.
    prompt:    what the model read, as text.
    gold:      the right answer, for people.
    outcome:   that of the choice, or of the first sample.
    passed:    the share of samples that are right, by metric: 1 or 0 for a choice or a single sample.
    output:    the choice that the model finds likeliest, or its first sample.
    logprobs:  by choice, in nats; empty where an answer was written.
    tokens:    scored tokens by choice.
    samples:   the answers; empty for multiple choice by likelihood.
    """

    id: str
    prompt: str
    gold: str
    outcome: ItemOutcome
    group: str = ""
    passed: dict[str, float] = {}
    output: str = ""
    logprobs: list[float] = []
    tokens: list[int] = []
    samples: list[Sample] = []


def write_items(folder: Path, items: Sequence[ItemResult]) -> None:
    """Write the items of a benchmark into its folder."""
    write_bytes(folder / ITEMS, b"".join(msgspec.json.encode(item) + b"\n" for item in items))


def read_items(folder: Path) -> list[ItemResult]:
    """The items in the folder of a benchmark's results.

    Raises:
        DiskError: there is no such file.
        ValueError: a line is broken; the message names it.
    """
    path = folder / ITEMS
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise explain(error, path, "read") from error
    items = []
    for number, line in enumerate(lines, 1):
        try:
            items.append(msgspec.json.decode(line, type=ItemResult))
        except msgspec.DecodeError as error:
            raise ValueError(f"{path}:{number}: {error}; run the evaluation again") from error
    return items
