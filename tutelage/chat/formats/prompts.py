"""Rows to prompts with gold answers, for reinforcement learning."""

from __future__ import annotations

import json
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


_TESTS, _PROGRAMS = ("tests", "test_list", "test"), ("code", "canonical_solution", "solution")


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
    specified = _tests(row) or _constraints(row)
    if specified is not None:
        return specified
    value: Any = next((row[name] for name in _GOLDS if row.get(name) is not None), None)
    of_model = row.get("reward_model")  # {"ground_truth": ...}, as verl writes it
    if value is None and isinstance(of_model, Mapping):
        value = of_model.get("ground_truth")
    if isinstance(value, list):
        return tuple(_one(item, gold_after) for item in value)
    return None if value is None else _one(value, gold_after)


def _tests(row: Row) -> str | None:
    """The gold answer of a programming task, as the verifier "unit_tests" reads it; None where a row has no tests."""
    tests = next((row[name] for name in _TESTS if row.get(name) is not None), None)
    if isinstance(tests, list) and tests and all(isinstance(line, str) for line in tests):
        tests = "\n".join([str(row.get("test_setup_code") or ""), *tests]).strip()
    if not isinstance(tests, str) or "assert" not in tests:
        return None
    entry = row.get("entry_point")
    if "def check(" in tests and isinstance(entry, str) and f"check({entry})" not in tests:  # HumanEval
        tests = f"{tests}\n\ncheck({entry})"
    solution = next((row[name] for name in _PROGRAMS if isinstance(row.get(name), str)), "")
    if "canonical_solution" in row and isinstance(row.get("prompt"), str):  # HumanEval: what completes the prompt
        solution = f"{row['prompt']}{solution}"
    return json.dumps({"tests": tests, "solution": solution})


def _constraints(row: Row) -> str | None:
    """The gold answer of a row of IFEval, as the verifier "constraints" reads it; None for other rows."""
    kinds, arguments = row.get("instruction_id_list"), row.get("kwargs")
    if not isinstance(kinds, list) or not isinstance(arguments, list) or len(kinds) != len(arguments):
        return None
    given = [{name: v for name, v in dict(one or {}).items() if v is not None} for one in arguments]
    return json.dumps([{"kind": kind, **one} for kind, one in zip(kinds, given, strict=True)])


def _one(value: object, gold_after: str | None) -> str | float:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise BrokenRow("malformed gold answer", f"{value!r} is neither a text nor a number")
    if gold_after is None or not isinstance(value, str):
        return value
    _, marker, gold = value.rpartition(gold_after)
    if not marker:
        raise BrokenRow("no gold answer", f"the answer has no {gold_after!r}")
    return gold.strip()
