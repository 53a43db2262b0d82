"""What an audit check is: what it finds, how serious that is, and how to fix it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np

from tutelage.chat.audit.near_duplicates import Diversity, Duplicates, find_duplicates, prompt_diversity
from tutelage.chat.audit.scan_result import EXAMPLES, ExampleRow, ScanResult
from tutelage.chat.audit.tokens import TokenCounts
from tutelage.ledger import Ledger

Level = Literal["error", "warning"]
TooLong = Literal["error", "split", "drop"]
NO_ROWS = np.empty(0, np.int64)


class Limits(NamedTuple):
    """What the training allows (`tutelage sft`); what it allows is a warning and no error."""

    too_long: TooLong = "error"
    max_broken: float = 0.0
    max_refused: float = 0.0


@dataclass(eq=False)
class AuditedFile:
    """What the checks read.

    scan:             of the audited file; held_out: of the held-out file, if there is one.
    ledger:           of the rows of the audited file.
    benchmark_places: the place of each text of the benchmarks.
    tokens:           what the model's tokenizer and template make of the conversations; None without a model.
    """

    scan: ScanResult
    held_out: ScanResult | None
    ledger: Ledger
    benchmark_places: Sequence[str]
    tokens: TokenCounts | None
    limits: Limits

    @cached_property
    def duplicates(self) -> Duplicates:
        """Duplicates and near duplicates within the file and across the two files."""
        return find_duplicates(self.scan, self.held_out)

    @cached_property
    def diversity(self) -> Diversity:
        """How much the prompts differ."""
        return prompt_diversity(self.scan)


class RereadRow(NamedTuple):
    """A row that was read a second time: its place, an excerpt of its question and answer, and its final answers."""

    place: str
    summary: str
    final_answers: tuple[str, ...]


@dataclass(eq=False)
class Hit:
    """Conversations that a check finds: their numbers, or `count` where no conversation in particular is meant.

    examples: to show; without any, the first of the rows are shown.
    detail:   what exactly was found, where that differs from file to file.
    level:    where it depends on more than the check.
    total:    what `count` is a share of, where it is not the number of conversations.
    confirm:  where only the text can tell: the rows are read again, and this makes the final hit of them, or None.
    """

    rows: np.ndarray
    examples: Sequence[ExampleRow] = ()
    detail: str = ""
    level: Level | None = None
    count: int = 0
    total: int | None = None
    confirm: Callable[[Mapping[int, RereadRow]], Hit | None] | None = None

    @property
    def size(self) -> int:
        """How many conversations, or rows, it is about."""
        return self.count or len(self.rows)

    @property
    def shown_examples(self) -> Sequence[ExampleRow]:
        """The examples to show."""
        return self.examples[:EXAMPLES] or [ExampleRow(int(row)) for row in self.rows[:EXAMPLES]]


class Exchange(NamedTuple):
    """A question and its answer; `lower` is the answer in lower case; `ends_with_call`: the answer ends with a tool
    call; `first`: the question opens the conversation."""

    question: str
    answer: str
    lower: str
    ends_with_call: bool = False
    first: bool = True


class Check(NamedTuple):
    """One thing that an audit looks for.

    name:          its name in reports, ledgers and JSON.
    level:         "error" stops a training, a warning does not.
    title:         what is wrong, in a few words.
    fix:           what to do, in one sentence.
    find:          yields its hits in a file.
    auto_fixable:  whether `fix_file` leaves these conversations out.
    in_answer:     for a check of single answers: the character of the answer at which the fault is, or -1.
    show_question: whether an example of `in_answer` shows the question too.
    in_text:       for a check of every role's texts: the character of a text at which the fault is, or -1.
    """

    name: str
    level: Level
    title: str
    fix: str
    find: Callable[[AuditedFile], Iterator[Hit]]
    auto_fixable: bool = False
    in_answer: Callable[[Exchange], int] | None = None
    show_question: bool = False
    in_text: Callable[[str], int] | None = None


def flagged(name: str) -> Callable[[AuditedFile], Iterator[Hit]]:
    """The `find` of a check whose conversations the scan has flagged under its name."""

    def find(file: AuditedFile) -> Iterator[Hit]:
        yield Hit(file.scan.flagged(name), file.scan.notes.examples[name])

    return find
