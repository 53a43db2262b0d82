"""Rows to prompts with gold answers, for reinforcement learning."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from tutelage.chat.formats.conversations import has, read_prompt, with_system
from tutelage.chat.formats.tools import read_tools
from tutelage.chat.formats.turns import clean, read_messages
from tutelage.io.row import BrokenRow, Row
from tutelage.records import Message, Task

_PROMPTS = ("prompt", "question", "instruction", "query")
_TURNS = ("messages", "conversations")
_GOLDS = ("gold", "answer", "answers", "solution", "ground_truth", "target", "completion", "response", "output")


class PromptFormat(NamedTuple):
    """A function that recognises the rows of a format, and one that reads their prompt."""

    recognises: Callable[[Row], bool]
    read: Callable[[Row], Sequence[Message]]


def _read_turns(row: Row) -> list[Message]:
    """The turns up to the last user message; what answers it is left out."""
    name = next(name for name in _TURNS if has(row, name))
    turns = with_system(row, read_messages(row[name], name))
    while turns and turns[-1].role != "user":
        turns.pop()
    return turns


# The first format that recognises a row is used.
PROMPT_FORMATS: dict[str, PromptFormat] = {
    "messages": PromptFormat(lambda row: any(has(row, name) for name in _TURNS), _read_turns),
    "prompt": PromptFormat(lambda row: any(has(row, name) for name in _PROMPTS), read_prompt),
}


def task(row: Row, format_name: str, place: str, gold_after: str | None) -> tuple[list[Task], list[str]]:
    """A row as a task, with notes of what was corrected; BrokenRow where it has no prompt, or no gold answer after
    `gold_after`."""
    turns, notes = clean(PROMPT_FORMATS[format_name].read(row))
    if not turns or turns[-1].role != "user" or not turns[-1].text.strip():
        raise BrokenRow("no prompt", "the last message must be the user's, and not empty")
    return [Task(tuple(turns), _gold(row, gold_after), place, read_tools(row))], notes


def _gold(row: Row, gold_after: str | None) -> str | float | tuple[str | float, ...] | None:
    """The gold answer, or several; None where the row names none."""
    value: Any = next((row[name] for name in _GOLDS if row.get(name) is not None), None)
    of_model = row.get("reward_model")  # {"ground_truth": ...}, as verl writes it
    if value is None and isinstance(of_model, Mapping):
        value = of_model.get("ground_truth")
    if isinstance(value, list):
        return tuple(_one(item, gold_after) for item in value)
    return None if value is None else _one(value, gold_after)


def _one(value: object, gold_after: str | None) -> str | float:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise BrokenRow("malformed gold answer", f"{value!r} is neither a text nor a number")
    if gold_after is None or not isinstance(value, str):
        return value
    _, marker, gold = value.rpartition(gold_after)
    if not marker:
        raise BrokenRow("no gold answer", f"the answer has no {gold_after!r}")
    return gold.strip()
