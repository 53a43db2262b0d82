"""Functions, calls and results in the rows of all formats, and which result answers which call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec

from tutelage.io.json_rows import repeated_field
from tutelage.io.row import BrokenRow, Row
from tutelage.records import Message, ToolCall, ToolResult

# The fields in which rows hold their functions.
TOOL_FIELDS = ("tools", "functions", "tool_defs", "tool_definitions", "available_tools")

NOT_OFFERED = "calls to a function that the row does not offer"
REORDERED = "tool results put in the order of their calls"
WITHOUT_CALL = "tool results without a call"


class Function(msgspec.Struct):
    """What a call names: a function and its arguments; the id only where calls are a list in a text."""

    name: str
    arguments: str | dict[str, Any] = "{}"
    id: str | None = None


class Call(msgspec.Struct):
    """A call in OpenAI's layout."""

    function: Function
    id: str | None = None


def read_call(function: Function, call_id: str | None = None) -> ToolCall:
    """A call; its arguments keep every character where they are a text."""
    arguments = function.arguments
    text = arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()
    if text is arguments and (broken := repeated_field(text)):
        raise broken
    return ToolCall(function.name, text, call_id or "")


def read_calls(place: int, text: str) -> list[ToolCall]:
    """One call or a list of calls, as JSON text."""
    try:
        calls = msgspec.json.decode(text, type=list[Function] | Function)
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise BrokenRow("malformed tool call", f"message {place}: {error}") from error
    return [read_call(call, call.id) for call in (calls if isinstance(calls, list) else [calls])]


def read_tools(row: Row) -> tuple[str, ...]:
    """The functions of a row, in one of TOOL_FIELDS, each as JSON text in OpenAI's format."""
    filled = {name: row[name] for name in TOOL_FIELDS if row.get(name)}
    if len(filled) > 1:
        raise BrokenRow("ambiguous fields", f"{' and '.join(map(repr, filled))} both hold functions; remove one")
    listed = _decoded(next(iter(filled.values()), None))
    if listed is None:
        return ()
    if not isinstance(listed, list):
        raise BrokenRow("malformed tools", "not a list of functions")
    return tuple(_read_tool(place, _decoded(tool)) for place, tool in enumerate(listed))


def _decoded(value: object) -> object:
    """A value, or what it says as JSON text."""
    try:
        return msgspec.json.decode(value) if isinstance(value, str) else value
    except msgspec.DecodeError as error:
        raise BrokenRow("malformed tools", str(error)) from error


def _read_tool(place: int, tool: object) -> str:
    if isinstance(tool, dict) and isinstance(tool.get("function"), dict):
        complete = {"type": "function", **tool}
    else:
        complete = {"type": "function", "function": tool}
    function = complete["function"]
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise BrokenRow("malformed tools", f"tool {place} is not a function with a name")
    return msgspec.json.encode(complete).decode()


def calls_not_offered(turns: Sequence[Message], tools: Sequence[str]) -> set[str]:
    """The names of functions that are called but are not among the tools of the row."""
    called = {part.name for turn in turns for part in turn.content if isinstance(part, ToolCall)}
    return called - {msgspec.json.decode(tool)["function"]["name"] for tool in tools} if called else called


def pair_results(turns: Sequence[Message], notes: list[str]) -> list[Message]:
    """The turns with the results of each assistant turn in the order of its calls, each with the id of its call.

    A result belongs to the call that its id names. Where either side has no ids, it belongs to the first call that has
    no result yet.

    Raises:
        BrokenRow: a result names no call of the assistant turn before it, or one that another result answers.
    """
    paired: list[Message] = []
    start = 0
    while start < len(turns):
        calls = [part for part in turns[start].content if isinstance(part, ToolCall)]
        stop = start + 1
        while stop < len(turns) and turns[stop].role == "tool":
            stop += 1
        paired.append(turns[start])
        results = list(turns[start + 1 : stop])
        if results and turns[start].role == "assistant":
            if not calls:
                notes.append(WITHOUT_CALL)  # kept: some data sets write calls as plain text
            results = _in_order(calls, results, start + 1, notes)
        paired += results
        start = stop
    return paired


def _in_order(calls: Sequence[ToolCall], results: Sequence[Message], first: int, notes: list[str]) -> list[Message]:
    ids = [call.id for call in calls]
    if len(set(ids)) < len(ids) and any(ids):
        raise BrokenRow("malformed tool call", f"message {first - 1}: two calls have the same id")
    open_calls = list(range(len(calls)))
    placed: list[tuple[int, Message]] = []
    for number, message in enumerate(results, first):
        call_id = next((part.call_id for part in message.content if isinstance(part, ToolResult)), "")
        if call_id and any(ids):
            call = ids.index(call_id) if call_id in ids else -1
            if call not in open_calls:
                problem = "answers a call that has a result already" if call >= 0 else "answers no call before it"
                raise BrokenRow("a tool result without its call", f"message {number}: {call_id[:40]!r} {problem}")
        else:
            call = open_calls[0] if open_calls else len(calls)
        if call < len(calls):
            open_calls.remove(call)
        placed.append((call, _answering(message, ids[call] if call < len(calls) else "")))
    ordered = sorted(placed, key=lambda pair: pair[0])
    if ordered != placed:
        notes.append(REORDERED)
    return [message for _, message in ordered]


def _answering(message: Message, call_id: str) -> Message:
    parts = (replace(part, call_id=call_id) if isinstance(part, ToolResult) else part for part in message.content)
    return replace(message, content=tuple(parts))
