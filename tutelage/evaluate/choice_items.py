"""Multiple-choice questions of a file, and how they are asked. `choice_rows` says which forms a row may have."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from tutelage.evaluate.choice_rows import LETTERS, choice_fields, is_choice_row
from tutelage.io.data_files import data_files
from tutelage.io.row import BrokenRow, Row
from tutelage.io.rows import rows

Form = Literal["cloze", "letters"]
ANSWER = "Answer:"
GROUPS = ("subject", "category", "set")  # fields that name an item's group
_NAMED = re.compile(r"^(Question|Q|Passage|Context):", re.MULTILINE)
_BLANKS_BEFORE_ANSWER = re.compile(r"[ \t]+\n(?=(?:Answer|A):\Z)")
_ENDS_AS_ANSWER = re.compile(r"^(Answer|A):\Z", re.MULTILINE)


@dataclass(frozen=True)
class ChoiceItem:
    """A question with its choices and the number of the right one; `group` is its subject or category. Where
    `beginnings` are given, the choices are beginnings of one text, and `question` is how it ends."""

    id: str
    question: str
    choices: tuple[str, ...]
    gold: int
    beginnings: bool = False
    group: str = ""


@dataclass(frozen=True)
class Asked:
    """A context and a continuation to score, for each choice. The contexts begin with `opening`; a chat has the
    examples as turns instead, each a question and its answer."""

    item: ChoiceItem
    contexts: tuple[str, ...]
    continuations: tuple[str, ...]
    opening: str = ""
    examples: tuple[tuple[str, str], ...] = ()


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
                found.append(choice_item(raw, place))
            except ValueError as error:
                raise ValueError(
                    f"{file.with_name(place)}: {error}; a row is {{'question': ..., 'choices': [...], 'answer': ...}}"
                ) from error
    if not found:
        raise ValueError(f"{path} has no rows; write one {{'question': ..., 'choices': [...], 'answer': ...}} per line")
    return found


def choice_item(row: Row, place: str) -> ChoiceItem:
    """The item of a row; its id is the row's, or the place. ValueError where the row is broken."""
    fields = choice_fields(row)
    name = next((str(row[key]) for key in ("id", "ind", "idx") if row.get(key) is not None), place)
    group = next((str(row[key]) for key in GROUPS if isinstance(row.get(key), str)), "")
    return ChoiceItem(name, fields.question, fields.choices, fields.gold, fields.beginnings, group)


def sample_items(items: Sequence[ChoiceItem], limit: int | None, seed: int) -> list[ChoiceItem]:
    """A seeded sample in the order of the file, not its first rows, which may all be of one subject."""
    if limit is None or limit >= len(items):
        return list(items)
    return [items[place] for place in sorted(random.Random(seed).sample(range(len(items)), limit))]


def asked(
    item: ChoiceItem,
    form: Form,
    pool: Sequence[ChoiceItem] = (),
    shots: int = 0,
    seed: int | None = 0,
    bare: bool = False,
    header: str = "",
) -> Asked:
    """How an item is asked as plain text: a header, examples from the pool with their answers, then the question.

    The examples are drawn once for all items, seeded, so that a model reads them once; with None as seed they are the
    first of the pool. Never the item itself, nor one with its question: then the next one takes its place.

    bare: without "Question:", and in the cloze form without "Answer:": the choices go on with the text.

    Raises:
        ValueError: the pool has too few other questions, or the form does not fit.
    """
    if form == "letters" and (item.beginnings or len(item.choices) == 1):
        raise ValueError(f"{item.id}: letters need choices; use the cloze form")
    examples = tuple(_example(one, form, bare) for one in _examples(item, pool, shots, seed))
    opening = header + "".join(f"{question} {answer}\n\n" for question, answer in examples)
    if item.beginnings:
        contexts, continuations = item.choices, (f" {item.question}",) * len(item.choices)
    else:
        contexts = (_context(item, form, bare),) * len(item.choices)
        texts = LETTERS[: len(item.choices)] if form == "letters" else item.choices
        continuations = tuple(f" {text}" for text in texts)
    contexts = tuple(opening + context for context in contexts)
    return Asked(item, contexts, continuations, opening, examples)


def _examples(item: ChoiceItem, pool: Sequence[ChoiceItem], shots: int, seed: int | None) -> list[ChoiceItem]:
    if not shots:
        return []
    order = list(range(len(pool)))
    if seed is not None:
        random.Random(seed).shuffle(order)
    found = (pool[place] for place in order if pool[place].id != item.id and pool[place].question != item.question)
    examples = list(islice(found, shots))
    if len(examples) < shots:
        raise ValueError(f"{shots} examples are asked for, but there are {len(examples)} other questions")
    return examples


def _example(item: ChoiceItem, form: Form, bare: bool) -> tuple[str, str]:
    """An item with its right answer, as an example."""
    if item.beginnings:
        return item.choices[item.gold], item.question
    return _context(item, form, bare), LETTERS[item.gold] if form == "letters" else item.choices[item.gold]


def _context(item: ChoiceItem, form: Form, bare: bool) -> str:
    """The question up to the place of the answer."""
    if len(item.choices) == 1 or (bare and form == "cloze"):
        return item.question
    question = item.question if bare or _NAMED.search(item.question) else f"Question: {item.question}"
    if form == "letters":
        question += "".join(f"\n{letter}. {text}" for letter, text in zip(LETTERS, item.choices, strict=False))
    question = _BLANKS_BEFORE_ANSWER.sub("\n", question)
    return question if _ENDS_AS_ANSWER.search(question) else f"{question}\n{ANSWER}"
