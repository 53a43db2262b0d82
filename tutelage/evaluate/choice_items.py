"""Multiple-choice questions of a file, and how they are asked. `choice_rows` says which forms a row may have."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tutelage.evaluate.choice_rows import LETTERS, choice_fields, is_choice_row
from tutelage.io.data_files import data_files
from tutelage.io.row import BrokenRow, Row
from tutelage.io.rows import rows

Form = Literal["cloze", "letters"]
ANSWER = "Answer:"


@dataclass(frozen=True)
class ChoiceItem:
    """A question with its choices and the number of the right one. Where `beginnings` are given, the choices are
    beginnings of one text, and `question` is how it ends."""

    id: str
    question: str
    choices: tuple[str, ...]
    gold: int
    beginnings: bool = False


@dataclass(frozen=True)
class Asked:
    """A context and a continuation to score, for each choice."""

    item: ChoiceItem
    contexts: tuple[str, ...]
    continuations: tuple[str, ...]


def read_choice_items(path: Path) -> list[ChoiceItem]:
    """The questions of a file (JSON lines, JSON, Parquet, CSV) or folder of files.

    Raises:
        DiskError: a file cannot be read.
        ValueError: a row is broken; the message names it. Or there is none.
    """
    found: list[ChoiceItem] = []
    for file in data_files(path):
        for place, raw in rows(file, is_choice_row):
            if raw is None:
                continue
            try:
                if isinstance(raw, BrokenRow):
                    raise ValueError(str(raw))
                found.append(_item(raw, place))
            except ValueError as error:
                raise ValueError(
                    f"{file.with_name(place)}: {error}; a row is {{'question': ..., 'choices': [...], 'answer': ...}}"
                ) from error
    if not found:
        raise ValueError(f"{path} has no rows; write one {{'question': ..., 'choices': [...], 'answer': ...}} per line")
    return found


def _item(row: Row, place: str) -> ChoiceItem:
    fields = choice_fields(row)
    name = str(row["id"]) if row.get("id") is not None else place
    return ChoiceItem(name, fields.question, fields.choices, fields.gold, fields.beginnings)


def sample_items(items: Sequence[ChoiceItem], limit: int | None, seed: int) -> list[ChoiceItem]:
    """A seeded sample in the order of the file, not its first rows, which may all be of one subject."""
    if limit is None or limit >= len(items):
        return list(items)
    return [items[place] for place in sorted(random.Random(seed).sample(range(len(items)), limit))]


def asked(item: ChoiceItem, form: Form, pool: Sequence[ChoiceItem] = (), shots: int = 0, seed: int = 0) -> Asked:
    """How an item is asked as plain text: examples from the pool with their answers, then the question.

    The examples are drawn for each item, seeded; never the item itself, nor one with its question.

    Raises:
        ValueError: the pool has too few other questions, or the form does not fit.
    """
    if form == "letters" and (item.beginnings or len(item.choices) == 1):
        raise ValueError(f"{item.id}: letters need choices; use the cloze form")
    others = [one for one in pool if one.id != item.id and one.question != item.question]
    if shots > len(others):
        raise ValueError(f"{shots} examples are asked for, but there are {len(others)} other questions")
    drawn = random.Random(f"{seed} {item.id}").sample(others, shots)
    opening = "".join(f"{_whole(one, form)}\n\n" for one in drawn)
    if item.beginnings:
        contexts = tuple(opening + beginning for beginning in item.choices)
        return Asked(item, contexts, (f" {item.question}",) * len(item.choices))
    context = opening + _context(item, form)
    continuations = tuple(f" {text}" for text in (LETTERS[: len(item.choices)] if form == "letters" else item.choices))
    return Asked(item, (context,) * len(item.choices), continuations)


def _whole(item: ChoiceItem, form: Form) -> str:
    """An item with its right answer, as an example."""
    if item.beginnings:
        return f"{item.choices[item.gold]} {item.question}"
    right = LETTERS[item.gold] if form == "letters" else item.choices[item.gold]
    return f"{_context(item, form)} {right}"


def _context(item: ChoiceItem, form: Form) -> str:
    """The question up to the place of the answer."""
    if len(item.choices) == 1:
        return item.question
    question = item.question if item.question.startswith("Question:") else f"Question: {item.question}"
    if form == "cloze":
        return f"{question}\n{ANSWER}"
    listed = "".join(f"\n{letter}. {text}" for letter, text in zip(LETTERS, item.choices, strict=False))
    return f"{question}{listed}\n{ANSWER}"
