"""Runs the calls of an assistant's turn. An environment is a function from a conversation that ends with the
assistant's turn to the messages that come next, or None where the conversation is complete.

The tool loop runs environments beside the engine; rollouts of reinforcement learning take the same functions.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from tutelage.chat.render.hf import HFRenderer
from tutelage.chat.render.native import NativeRenderer
from tutelage.chat.render.renderer import Renderer
from tutelage.chat.render.template import DELIMITERS
from tutelage.config import Settings
from tutelage.engine.text_stream import MARKERS
from tutelage.records import Conversation, Message, Text, ToolCall, ToolResult
from tutelage.tools.results import as_text, fit_result
from tutelage.tools.tool import Tool, ToolError, read_arguments

State = TypeVar("State")
# From a conversation and the environment's state to the next messages, or None, and the new state.
NextTurn = Callable[[Conversation, State], tuple[Sequence[Message] | None, State]]

# "malformed" is no call at all, "refused" one that the limits do not allow.
CallStatus = Literal["ok", "error", "timed out", "unknown tool", "malformed", "refused"]


class ToolLimits(Settings, frozen=True, kw_only=True):
    """What the calls of one conversation may cost.

    calls:         most calls; further ones are answered with the request to answer without.
    result_tokens: most tokens of one result; it is cut, and says so.
    call_seconds:  for one call.
    seconds:       for all calls together.
    repairs:       how many malformed calls are answered with what is wrong.
    """

    calls: int = 8
    result_tokens: int = 512
    call_seconds: float = 10.0
    seconds: float = 60.0
    repairs: int = 2

    def __post_init__(self) -> None:
        for name in ("calls", "result_tokens", "call_seconds", "seconds"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")


@dataclass(frozen=True, slots=True)
class CallRecord:
    """A call and what came of it; `cut`: whether the model sees only the beginning of the result."""

    call: ToolCall
    status: CallStatus
    result: str
    seconds: float
    cut: bool = False


@dataclass(frozen=True, slots=True)
class ToolState:
    """The calls of a conversation so far. `refused` counts turns with calls beyond the limit."""

    calls: tuple[CallRecord, ...] = ()
    refused: int = 0

    @property
    def seconds(self) -> float:
        return sum(record.seconds for record in self.calls)


def tool_environment(tools: Sequence[Tool], renderer: Renderer, limits: ToolLimits) -> NextTurn[ToolState]:
    """The environment of some tools. The calls of a turn run one after the other, in the order in which they were
    written; each gets a message with its result, in that order and with its id.

    ValueError where two tools have one name, or the chat template writes calls in a form that cannot be read back.
    """
    if isinstance(renderer, HFRenderer) and renderer.call_format is None:
        raise ValueError(
            "the chat template of this model shows no calls, or writes them in a form that cannot be read back (its "
            "arguments are no JSON object after the name); tools cannot be run for it"
        )
    by_name = {tool.name: tool for tool in tools}
    if len(by_name) < len(tools):
        raise ValueError("two tools have the same name: " + ", ".join(sorted(tool.name for tool in tools)))
    opening = call_marker(renderer)

    def next_turn(conversation: Conversation, state: ToolState) -> tuple[Sequence[Message] | None, ToolState]:
        answer = conversation.messages[-1]
        calls = [part for part in answer.content if isinstance(part, ToolCall)]
        broken = [part.text for part in answer.content if isinstance(part, Text) and opening in part.text]
        if not calls and not broken:
            return None, state
        records: list[CallRecord] = []
        if not calls:
            repaired = sum(record.status == "malformed" for record in state.calls)
            records.append(_malformed(broken[0]))
            if repaired >= limits.repairs:
                return None, replace(state, calls=(*state.calls, *records))
        for call in calls:
            past = ToolState((*state.calls, *records))
            records.append(_run(by_name, call, past, renderer, limits))
        state = ToolState((*state.calls, *records), state.refused + any(r.status == "refused" for r in records))
        if state.refused > 1:  # it was told to answer without
            return None, state
        return [Message("tool", (ToolResult(record.result, record.call.id),)) for record in records], state

    return next_turn


def call_marker(renderer: Renderer) -> str:
    """What opens a call in this renderer's texts."""
    if isinstance(renderer, NativeRenderer):
        return DELIMITERS[ToolCall][0]
    learned = renderer.call_format if isinstance(renderer, HFRenderer) else None
    return MARKERS["tool_call"][0] if learned is None else learned.marker


def _malformed(text: str) -> CallRecord:
    told = 'This is no call that can be read. Write {"name": "...", "arguments": {...}} as valid JSON.'
    return CallRecord(ToolCall("", text), "malformed", told, 0.0)


def _run(
    tools: Mapping[str, Tool], call: ToolCall, past: ToolState, renderer: Renderer, limits: ToolLimits
) -> CallRecord:
    if sum(record.status not in ("malformed", "refused") for record in past.calls) >= limits.calls:
        return CallRecord(call, "refused", f"All {limits.calls} calls are used up. Answer without a further call.", 0.0)
    left = limits.seconds - past.seconds
    if left <= 0:
        told = f"The {limits.seconds:g} seconds for calls are used up. Answer without a further call."
        return CallRecord(call, "refused", told, 0.0)
    if call.name not in tools:
        known = ", ".join(tools) or "none"
        return CallRecord(call, "unknown tool", f"There is no tool {call.name[:100]!r}. The tools are: {known}.", 0.0)
    start = time.monotonic()
    status, text = run_tool(tools[call.name], call, min(limits.call_seconds, left))
    shown, cut = fit_result(text, renderer, limits.result_tokens)
    return CallRecord(call, status, shown, time.monotonic() - start, cut)


def run_tool(tool: Tool, call: ToolCall, seconds: float) -> tuple[CallStatus, str]:
    """What came of a call, and what the model is told of it."""
    try:
        return "ok", as_text(_within(tool, read_arguments(tool, call), seconds))
    except TimeoutError:
        return "timed out", f"{tool.name} was stopped: it took more than {seconds:g} seconds."
    except ToolError as error:
        return "error", as_text(str(error))
    except Exception as error:  # whatever a tool raises must reach the model, and nobody else
        return "error", as_text(f"{tool.name} failed: {type(error).__name__}: {error}")


def _within(tool: Tool, arguments: Mapping[str, Any], seconds: float) -> object:
    """What the tool returns. Raises TimeoutError after `seconds`, and whatever the tool raises."""
    if tool.keeps_time:
        return tool.run(arguments, seconds)
    results: list[tuple[bool, object]] = []

    def run() -> None:
        try:
            results.append((True, tool.run(arguments, seconds)))
        except BaseException as error:  # SystemExit, too, is the tool's and not ours
            results.append((False, error))

    thread = threading.Thread(target=run, name=f"tool {tool.name}", daemon=True)
    thread.start()
    thread.join(seconds)
    if not results:
        raise TimeoutError
    returned, value = results[0]
    if not returned:
        assert isinstance(value, BaseException)
        raise value if isinstance(value, Exception) else RuntimeError(f"{type(value).__name__}: {value}")
    return value
