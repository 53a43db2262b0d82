"""What a published benchmark is: where its rows are, how they are asked, how answers are scored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tutelage.evaluate.choice_items import ChoiceItem, Form
from tutelage.evaluate.item_results import ItemOutcome, ItemResult
from tutelage.io.row import Row
from tutelage.scoring import Score


@dataclass(frozen=True)
class ItemScore:
    """The outcome of an answer by one rule, and what the rule read from it."""

    outcome: ItemOutcome
    extracted: str = ""


def as_item_score(score: Score) -> ItemScore:
    """The score of a verifier."""
    return ItemScore(score.outcome, score.extracted)


@dataclass(frozen=True)
class PromptItem:
    """A question that the model answers in words.

    gold:     what the scorer compares with.
    solution: the answer as an example shows it; "" where it cannot serve as one.
    group:    subject, category or task.
    system:   a system message of its own.
    examples: examples that come with the item, as (question, answer); drawn from the pool where there are none.
    data:     further fields that the scorer reads.
    """

    id: str
    question: str
    gold: Any
    solution: str = ""
    group: str = ""
    system: str = ""
    examples: tuple[tuple[str, str], ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ChoiceBenchmark:
    """Multiple choice by likelihood.

    files:      patterns of its files in the data folder, the first that matches counts: `*` is anything.
    shot_files: patterns of files whose rows may be examples; where none is there, other rows of the same file.
    metric:     the normaliser in the headline, as OLMES chooses it (arXiv 2406.08446, table 2).
    form:       "cloze" scores the text of each choice, "letters" its letter below a list.
    bare:       the forms that are asked without "Question:", and as a cloze without "Answer:".
    shots:      examples where the user asks for no other number.
    convert:    a row in another form than those of `choice_rows`, in one of them.
    header:     begins the prompt of a group.
    first:      take the first examples of the item's own group, not a seeded draw from all.
    """

    name: str
    title: str
    files: tuple[str, ...]
    shot_files: tuple[str, ...] = ()
    metric: str = "acc"
    form: Form = "cloze"
    bare: frozenset[Form] = frozenset()
    shots: int = 0
    read: Callable[[Sequence[Path]], list[ChoiceItem]] | None = None
    convert: Callable[[Row], Row] = lambda row: row
    header: Callable[[str], str] = lambda group: ""
    first: bool = False


@dataclass(frozen=True)
class PromptBenchmark:
    """Questions that the model answers in words.

    read:        an item of a row, whose place is "FILE:LINE"; ValueError where the row is broken.
    score:       the outcome of an answer by each rule that reads it; the first is the headline.
    same_group:  examples are of the item's own group.
    instruction: stands below each question in a chat.
    wording:     how a question stands in a chat, "{}" in its place.
    template:    how a question stands in plain text, "{}" in its place; the answer follows after `between`.
    stops:       strings that end an answer in plain text.
    max_tokens:  limit of an answer.
    measure:     further rates (`Rate`) and figures from all items and their results.
    chat_only:   it makes no sense in plain text.
    majority:    whether a majority of samples is meaningful.
    read_beside: further files that one is read with, such as gold answers; their digests are in the results too.
    ends_matter: an answer that reached the limit of tokens and is not right counts as cut off, not by its score.
    """

    name: str
    title: str
    files: tuple[str, ...]
    read: Callable[[Row, str], PromptItem]
    score: Callable[[str, PromptItem], Mapping[str, ItemScore]]
    shot_files: tuple[str, ...] = ()
    shots: int = 0
    same_group: bool = False
    instruction: str = ""
    wording: str = "{}"
    template: str = "Question: {}\nAnswer:"
    between: str = " "
    stops: tuple[str, ...] = ("\nQuestion:", "\nQ:", "\n\n\n")
    max_tokens: int = 512
    read_files: Callable[[Sequence[Path]], list[PromptItem]] | None = None
    measure: Callable[[Sequence[PromptItem], Sequence[ItemResult]], Mapping[str, Any]] = lambda items, results: {}
    chat_only: bool = False
    majority: bool = True
    read_beside: Callable[[Path], Sequence[Path]] = lambda file: ()
    ends_matter: bool = True


Benchmark = ChoiceBenchmark | PromptBenchmark
