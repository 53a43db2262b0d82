"""The texts that a model was trained on, or may have been: of a run, a corpus or a file of rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tutelage.chat.render.template import part_text
from tutelage.corpus.shards import RESULT, corpus_files, read_documents
from tutelage.io.data_files import all_files, is_data_file
from tutelage.io.row import BrokenRow, texts_in
from tutelage.io.rows import rows
from tutelage.records import Conversation
from tutelage.stages.data import DataTable, MadeData, conversations, documents, holds

# Values of fields that name who speaks, or in which format; they would stand between question and answer.
_ROLES = {"system", "user", "assistant", "human", "gpt", "tool", "text", "prompter"}
_PARAGRAPHS = 1 << 16  # characters of plain text that are searched at once


def training_texts(path: Path) -> Iterator[tuple[str, str]]:
    """Every text of a corpus's folder, or of a file or folder of rows, with its place: a row is one text, in which
    question and answer follow each other. A file of any other kind is plain text.

    Raises:
        DiskError: a file cannot be read.
        ValueError: a file is damaged.
    """
    if (path / RESULT).exists():
        for file in corpus_files(path):
            yield from ((f"{file.name}, {document.id}", document.text) for document in read_documents(file))
        return
    for file in all_files(path):
        if not is_data_file(file):
            yield from _plain(file)
            continue
        for place, row in rows(file, lambda _: True):
            if row is None or isinstance(row, BrokenRow):
                continue
            yield place, _joined(row)


def data_texts(name: str, table: DataTable, folder: Path) -> Iterator[tuple[str, str]]:
    """Every training text of a dataset of a run; see `training_texts`."""
    data = table[name]
    if isinstance(data, MadeData):
        yield from training_texts(folder / data.stage / "data.jsonl")
    elif holds(data) == "documents":
        for document in documents(name, table):
            if document.split != "held_out":
                yield f"{name}, {document.id}", document.text
    elif holds(data) != "questions":
        for row in conversations(name, table):
            if row.split != "held_out":
                yield f"{name}, {row.id}", _spoken(row)


def training_rows(names: Iterable[str], table: DataTable, folder: Path) -> Iterator[tuple[str, str]]:
    """Every training text of some datasets of a run; see `training_texts`."""
    for name in names:
        yield from data_texts(name, table, folder)


def _spoken(row: Conversation) -> str:
    return "\n".join(part_text(part) for one in row.messages for part in one.content)


def _joined(row: Any) -> str:
    return "\n".join(text for text in texts_in(row) if text.strip().lower() not in _ROLES)


def _plain(file: Path) -> Iterator[tuple[str, str]]:
    """A text file in overlapping parts, so that a passage at a border is whole in one of them."""
    text = file.read_text(encoding="utf-8", errors="replace")
    for start in range(0, max(len(text), 1), _PARAGRAPHS):
        yield f"{file.name}, character {start:,}", text[start : start + _PARAGRAPHS + 1000]
