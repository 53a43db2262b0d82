"""Calls recorded to a file, and replayed from it: a conversation can be repeated without its tools."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import msgspec

from tutelage.files import read_text
from tutelage.tools.results import as_text
from tutelage.tools.tool import Tool, ToolError


class RecordedCall(msgspec.Struct):
    """What a tool returned, or why it did not: a line of a recording."""

    name: str
    arguments: dict[str, Any]
    outcome: Literal["returned", "error", "timed out"]
    text: str


def record_calls(tools: Sequence[Tool], path: Path) -> list[Tool]:
    """The tools, each call of which is appended to a file as a line of JSON."""
    lock = threading.Lock()

    def write(call: RecordedCall) -> None:
        with lock, path.open("ab") as file:
            file.write(msgspec.json.encode(call) + b"\n")

    def recorded(tool: Tool) -> Tool:
        def run(arguments: Mapping[str, Any], seconds: float) -> str:
            try:
                text = as_text(tool.run(arguments, seconds))
            except TimeoutError:
                write(RecordedCall(tool.name, dict(arguments), "timed out", ""))
                raise
            except Exception as error:
                told = str(error) if isinstance(error, ToolError) else f"{type(error).__name__}: {error}"
                write(RecordedCall(tool.name, dict(arguments), "error", as_text(told)))
                raise
            write(RecordedCall(tool.name, dict(arguments), "returned", text))
            return text

        return replace(tool, run=run)

    return [recorded(tool) for tool in tools]


def replay_calls(tools: Sequence[Tool], path: Path) -> list[Tool]:
    """The tools, whose calls are answered from a recording and never run. Equal calls are answered in their order.

    Raises:
        DiskError: the file cannot be read.
        ValueError: a line is no call.
    """
    left: dict[bytes, deque[RecordedCall]] = defaultdict(deque)
    for number, line in enumerate(read_text(path).splitlines(), 1):
        try:
            call = msgspec.json.decode(line, type=RecordedCall)
        except msgspec.DecodeError as error:
            raise ValueError(f"{path}, line {number}: {error}; record the calls again") from error
        left[_key(call.name, call.arguments)].append(call)

    def replayed(tool: Tool) -> Tool:
        def run(arguments: Mapping[str, Any], seconds: float) -> str:
            calls = left[_key(tool.name, arguments)]
            if not calls:
                raise ToolError(f"The recording has no further call of {tool.name} with these arguments.")
            call = calls.popleft()
            if call.outcome == "timed out":
                raise TimeoutError
            if call.outcome == "error":
                raise ToolError(call.text)
            return call.text

        return replace(tool, run=run, keeps_time=True)

    return [replayed(tool) for tool in tools]


def _key(name: str, arguments: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode([name, dict(arguments)], order="sorted")
