"""Data in files: what a recipe says of them, and their rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Protocol, TypeVar

from tutelage.config import Settings
from tutelage.corpus.text import TextSettings
from tutelage.evaluate.benchmarks import BENCHMARKS
from tutelage.io.data_files import held_out_path, split_files
from tutelage.io.row import BrokenRow
from tutelage.io.rows import rows
from tutelage.ledger import Ledger
from tutelage.records import AnyPreference, Conversation, Document, Split, Task


class TextData(TextSettings, tag="text", tag_field="kind", frozen=True, kw_only=True):
    """A text file, for pre-training."""


class DocumentData(Settings, tag="documents", tag_field="kind", frozen=True, kw_only=True):
    """Files of documents, for pre-training or replay: JSON lines, JSON, Parquet or CSV, one document per row. Every
    tenth of the first HELD_OUT_OF rows is held out, or the validation split of a folder that has one.

    path:   a file, a folder of files, or a pattern such as `docs/*.parquet`; a relative one in a recipe is looked for
            beside the recipe.
    column: the field that holds the text.
    """

    path: str
    column: str = "text"


class CorpusData(Settings, tag="corpus", tag_field="kind", frozen=True, kw_only=True):
    """A corpus made by `tutelage curate`, for pre-training.

    path: its folder; a relative one in a recipe is looked for beside the recipe.
    """

    path: str


class ProbeText(Settings, tag="probe", tag_field="kind", frozen=True, kw_only=True):
    """Two dozen short texts of many kinds that come with Tutelage and are never trained on. Forgetting is measured on
    them where a model's training text is not known."""


class ChatData(Settings, tag="chat", tag_field="kind", frozen=True, kw_only=True):
    """Files of conversations, for fine-tuning: JSON lines, JSON, Parquet or CSV, in one of chat.formats.FORMATS.

    path:       a file, a folder of files, or a pattern such as `chats/*.jsonl`; a relative one in a recipe is looked
                for beside the recipe. Of a folder with splits, the training split.
    held_out:   other such files, of held-out conversations; where left out, the validation split of the folder, or a
                share of the rows.
    format:     the format of the rows; detected from each file's first row where left out.
    max_broken: the share of rows that may be broken; they are counted, and more are an error.
    """

    path: str
    held_out: str | None = None
    format: str | None = None
    max_broken: float = 0.0


class PreferenceData(Settings, tag="preferences", tag_field="kind", frozen=True, kw_only=True):
    """Files of preferences, for a reward model, DPO or KTO: JSON lines, JSON, Parquet or CSV, in one of
    chat.formats.preferences.PREFERENCE_FORMATS.

    path, held_out, format, max_broken: as of "chat".
    """

    path: str
    held_out: str | None = None
    format: str | None = None
    max_broken: float = 0.0


class Prompts(Settings, tag="prompts", tag_field="kind", frozen=True, kw_only=True):
    """Files of prompts: JSON lines, JSON, Parquet or CSV. A stage that samples (GRPO, PPO, best-of-n) reads rows with a
    prompt and, for verifiers, a gold answer (chat.formats.PROMPT_FORMATS). Where no stage names the data, its rows are
    `{"set", "prompt"}`: named sets to evaluate fine-tuned models on.

    path, held_out, max_broken: as of "chat".
    gold_after: the gold answer is what follows the last of these characters, such as "####".
    """

    path: str
    held_out: str | None = None
    gold_after: str | None = None
    max_broken: float = 0.0


class QuestionData(Settings, tag="questions", tag_field="kind", frozen=True, kw_only=True):
    """Questions with answers that a verifier checks, to evaluate a fine-tuned model on; see docs/evaluation.md.

    path: a file of rows with `question` and `answer`.
    """

    path: str


class BenchmarkData(Settings, tag="benchmarks", tag_field="kind", frozen=True, kw_only=True):
    """Published benchmarks to evaluate a fine-tuned model on; see docs/evaluation.md.

    path:   the folder with their files.
    suites: their names, such as ["mmlu", "gsm8k"].
    limit:  items of each that are asked, a stratified part.
    """

    path: str
    suites: tuple[str, ...]
    limit: int = 200

    def __post_init__(self) -> None:
        unknown = [name for name in self.suites if name not in BENCHMARKS]
        if unknown or not self.suites:
            name = f"there is no benchmark '{unknown[0]}'" if unknown else "it names no benchmark"
            raise ValueError(f"{name}; known are {', '.join(BENCHMARKS)}")
        if self.limit < 1:
            raise ValueError(f"limit is {self.limit}; it must be at least 1")


# Enough to estimate a loss, and few enough to measure it often during training.
HELD_OUT_EVERY, HELD_OUT_OF = 10, 400


def document_rows(data: DocumentData) -> Iterator[Document]:
    """The rows of files of documents; their ids are their places in the files.

    Raises:
        DiskError: a file cannot be read.
        ValueError: a row is broken or has no such text; the sentence names it.
    """
    number = 0
    parts = split_files(Path(data.path))
    for file in chain(parts.train, parts.held_out):
        for place, row in rows(file, lambda row: data.column in row):
            if row is None:
                continue
            if isinstance(row, BrokenRow):
                raise ValueError(f"{file.with_name(place)}: {row}; fix the row or remove it")
            text = row.get(data.column)
            if not isinstance(text, str):
                fields = ", ".join(repr(name) for name in row)
                raise ValueError(f"{file.with_name(place)} has no text '{data.column}' (its fields: {fields})")
            held_out = number < HELD_OUT_OF and number % HELD_OUT_EVERY == 0
            if parts.held_out:
                held_out = file in parts.held_out
            yield Document(text, place, split="held_out" if held_out else "train")
            number += 1


Row = TypeVar("Row", Conversation, AnyPreference, Task)


def rows_of_files(
    data: ChatData | PreferenceData | Prompts,
    read: Callable[[Path, Ledger, float, str | None, Split], Iterator[Row]],
    ledger: Ledger,
) -> Iterator[Row]:
    """The rows of the data's files; where held-out files are named, each with the part that it belongs to."""
    others, format = held_out_files(data), None if isinstance(data, Prompts) else data.format
    for row in read(Path(data.path), ledger, data.max_broken, format, "train"):
        yield row if others is None else replace(row, split="train")
    if others is not None:
        for row in read(others[0], ledger, data.max_broken, format, others[1]):
            yield replace(row, split="held_out")


class _WithHeldOut(Protocol):
    @property
    def path(self) -> str: ...
    @property
    def held_out(self) -> str | None: ...


def held_out_files(data: _WithHeldOut) -> tuple[Path, Split] | None:
    """Where held-out rows are, if they have files of their own: a path, and which of its splits."""
    return held_out_path(Path(data.path), None if data.held_out is None else Path(data.held_out))
