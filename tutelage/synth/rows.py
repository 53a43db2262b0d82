"""The one form of each kind of row that methods read and write, and the input files in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from tutelage.chat.formats import read_conversations, read_preferences, read_tasks
from tutelage.io.data_files import data_files
from tutelage.io.row import BrokenRow
from tutelage.io.rows import rows
from tutelage.ledger import Ledger
from tutelage.records import Conversation, Message, Preference
from tutelage.synth.method import Row, RowKind, Turn
from tutelage.world import World

_TEXTS = ("text", "content", "persona", "document")
WORLD = "world"  # as input: the pages, questions or conversations of the built-in world


def conversation(*texts: str, system: str = "") -> Row:
    """A conversation of alternating texts, the user's first; of one text alone it is a prompt."""
    before = [{"role": "system", "content": system}] if system else []
    roles = ("user", "assistant")
    return {"messages": [*before, *({"role": roles[i % 2], "content": text} for i, text in enumerate(texts))]}


def pair(prompt: Sequence[Turn], chosen: str, rejected: str) -> Row:
    """A preference: two answers to one prompt."""
    sides = {"chosen": chosen, "rejected": rejected}
    return {"prompt": [*prompt], **{name: [{"role": "assistant", "content": text}] for name, text in sides.items()}}


def prompt_of(row: Row) -> list[Turn]:
    """The messages up to the last one of the user."""
    turns = [*row["messages"]]
    while turns and turns[-1]["role"] != "user":
        turns.pop()
    return turns


def question_of(row: Row) -> str:
    """The first text of the user."""
    turns = row.get("messages") or row.get("prompt") or ()
    return next((turn["content"] for turn in turns if turn["role"] == "user"), "")


def answer_of(row: Row) -> str:
    """The first text of the assistant; "" where there is none."""
    return next((turn["content"] for turn in row["messages"] if turn["role"] == "assistant"), "")


def as_text(turns: Sequence[Turn]) -> str:
    """Messages as a text for a judge or a simulated user."""
    return "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)


def read_rows(path: str, takes: RowKind, ledger: Ledger, world: World, limit: int | None) -> Iterator[Row]:
    """The rows of a file or of the built-in world, each with an id.

    Raises:
        DiskError, ValueError: as `read_conversations`; or a file of documents has no text.
    """
    return islice(_world_rows(world, takes, ledger) if path == WORLD else _file_rows(Path(path), takes, ledger), limit)


def _file_rows(path: Path, takes: RowKind, ledger: Ledger) -> Iterator[Row]:
    if takes == "documents":
        yield from _documents(path, ledger)
    elif takes == "prompts":
        for task in read_tasks(path, ledger, 1.0):
            row = {"id": task.id, "messages": _turns(task.prompt), **({} if task.gold is None else {"gold": task.gold})}
            yield row
    elif takes == "conversations":
        for chat in read_conversations(path, ledger, 1.0):
            yield {"id": chat.id, "messages": _turns(chat.messages)}
    else:
        for item in read_preferences(path, ledger, 1.0):
            assert isinstance(item, Preference), "other kinds of preferences are not synthesised from"
            sides = {name: _turns(getattr(item, name)) for name in ("prompt", "chosen", "rejected")}
            yield {"id": item.id, **sides}


def _documents(path: Path, ledger: Ledger) -> Iterator[Row]:
    read = False
    for file in data_files(path):
        for place, row in rows(file, lambda row: any(name in row for name in _TEXTS)):
            ledger.read()
            text = None if row is None or isinstance(row, BrokenRow) else _first_text(row)
            if not text:
                ledger.drop("blank line" if row is None else "no text", where=place)
                continue
            read = True
            ledger.keep()
            yield {"id": place, "text": text}
    if not read:
        raise ValueError(f"{path} has no documents; a row has a text under one of these names: {', '.join(_TEXTS)}")


def _first_text(row: Any) -> str:
    return next((row[name] for name in _TEXTS if isinstance(row.get(name), str) and row[name].strip()), "")


def _turns(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": turn.role, "content": turn.text} for turn in messages]


def _world_rows(world: World, takes: RowKind, ledger: Ledger) -> Iterator[Row]:
    if takes == "documents":
        for document in world.documents():
            ledger.read()
            ledger.keep()
            yield {"id": document.id, "text": document.text}
    elif takes == "prompts":
        for question in world.questions("train", 2):
            if question.kind == "one-step":
                ledger.read()
                ledger.keep()
                yield {"id": question.id, **conversation(question.prompt), "gold": [*question.accepted]}
    else:
        assert takes == "conversations", "the world's preferences are made by its own labeller"
        for chat in world.conversations("train"):
            ledger.read()
            ledger.keep()
            yield _chat(chat)


def _chat(chat: Conversation) -> Row:
    return {"id": chat.id, "messages": _turns(chat.messages)}
