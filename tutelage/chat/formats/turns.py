"""Shared by all formats: OpenAI and ShareGPT messages, tools, and turns cleaned and checked for training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from tutelage.chat.render.template import check, check_answers, conversation_name
from tutelage.io.row import BrokenRow, Row
from tutelage.records import Conversation, Message, Part, Reasoning, Role, Text, ToolCall, ToolResult

ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "tool_response": "tool",
    "ipython": "tool",
}
# Roles of ShareGPT for an assistant turn with nothing but calls.
_CALLS = ("function_call", "tool_call")
_MEDIA = ("image", "images", "audio", "audios", "video", "videos")
_TEXT_TYPES = ("text", "input_text", "output_text")
_REASONING_TYPES = ("reasoning", "thinking")
_THINK, _THINK_END = "<think>", "</think>"

# Written by other tools at the end of a turn; the template has its own end, which is a token and not text.
_END_MARKERS = ("<|endoftext|>", "<|im_end|>", "<|eot_id|>", "<|end|>", "<end_of_turn>", "</s>")

CUT_OFF = "turns after the last answer, cut off"
THINK_TAGS = "reasoning taken out of <think> tags"
END_MARKER = "an end marker written out after an answer, taken off"
WITHOUT_CALL = "tool results without a call"
JOINED = "calls joined to the turn they belong to"


class Dialogue(NamedTuple):
    """A row before it is checked; `notes` say what was corrected in it."""

    messages: Sequence[Message]
    tools: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class _Part(msgspec.Struct):
    type: str
    text: str | None = None
    value: str | None = None
    content: str | None = None
    thinking: str | None = None


class _Function(msgspec.Struct):
    name: str
    arguments: str | dict[str, Any] = "{}"


class _Call(msgspec.Struct):
    function: _Function


class _Message(msgspec.Struct):
    role: str | None = None
    sender: str | None = msgspec.field(default=None, name="from")
    content: str | list[_Part] | None = None
    value: str | list[_Part] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    thinking: str | None = None
    tool_calls: list[_Call] | None = None
    function_call: _Function | None = None  # the predecessor of tool_calls
    weight: float | None = None
    loss_weight: float | None = None


def read_messages(messages: object, field: str) -> list[Message]:
    """The messages of a list `[{"role", "content", "tool_calls" ...}]` or `[{"from", "value"}]`."""
    if not isinstance(messages, list):
        raise BrokenRow("malformed message", f"'{field}' is not a list")
    return [read_message(place, message) for place, message in enumerate(messages)]


def read_message(place: int, message: object) -> Message:
    """One message in either format; `place` is its number, for errors."""
    try:
        raw = msgspec.convert(message, _Message)
    except msgspec.ValidationError as error:
        raise BrokenRow("malformed message", f"message {place}: {error}") from error
    name = raw.role or raw.sender or ""
    content = raw.value if raw.content is None else raw.content
    if name in _CALLS:
        if not isinstance(content, str):
            raise BrokenRow("malformed tool call", f"message {place}: it is not a text")
        return Message("assistant", tuple(_read_calls(place, content)))
    if name not in ROLES:
        known = ", ".join((*ROLES, *_CALLS))
        raise BrokenRow("unknown role", f"message {place}: {name[:40]!r} is not one of {known}")
    role = ROLES[name]
    parts: list[Part] = [Text(content)] if isinstance(content, str) else _read_parts(place, content or ())
    if role == "tool":
        return Message(role, (ToolResult("".join(part.text for part in parts if isinstance(part, Text))),))
    if role == "assistant" and {raw.weight, raw.loss_weight} - {None, 1}:
        raise BrokenRow(
            "weighted message", f"message {place}: all messages have weight 1; remove the weight or the row"
        )
    calls = [call.function for call in raw.tool_calls or ()] + ([raw.function_call] if raw.function_call else [])
    thoughts = raw.reasoning_content or raw.reasoning or raw.thinking
    reasoning: list[Part] = [Reasoning(thoughts)] if thoughts else []
    spoken = [part for part in parts if isinstance(part, ToolCall) or part.text]
    return Message(role, (*reasoning, *spoken, *map(_read_call, calls)))


def _read_parts(place: int, parts: Sequence[_Part]) -> list[Part]:
    read: list[Part] = []
    for part in parts:
        text = next((t for t in (part.text, part.value, part.content, part.thinking) if t is not None), None)
        if part.type.startswith(("image", "audio", "video", "input_image", "input_audio", "file", "input_file")):
            raise BrokenRow("multimodal row", f"message {place}: {part.type[:40]!r}; only text is supported")
        if text is None:
            raise BrokenRow("malformed message", f"message {place}: a part of type {part.type[:40]!r} without text")
        if part.type in _TEXT_TYPES:
            if read and isinstance(before := read[-1], Text):
                text = before.text + text  # how a text is split into parts does not matter
                read.pop()
            read.append(Text(text))
        elif part.type in _REASONING_TYPES:
            read.append(Reasoning(text))
        elif part.type in _CALLS:
            read.extend(_read_calls(place, text))
        else:
            raise BrokenRow("malformed message", f"message {place}: unknown type of part {part.type[:40]!r}")
    return read


def _read_calls(place: int, text: str) -> list[ToolCall]:
    try:
        calls = msgspec.json.decode(text, type=list[_Function] | _Function)
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise BrokenRow("malformed tool call", f"message {place}: {error}") from error
    return [_read_call(call) for call in (calls if isinstance(calls, list) else [calls])]


def _read_call(function: _Function) -> ToolCall:
    arguments = function.arguments
    text = arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()
    return ToolCall(function.name, text)


def read_tools(row: Row) -> tuple[str, ...]:
    """The functions of a row, in 'tools' or 'functions', each as JSON text in OpenAI's format."""
    tools = row.get("tools") or row.get("functions")
    try:
        listed = msgspec.json.decode(tools) if isinstance(tools, str) else tools
    except msgspec.DecodeError as error:
        raise BrokenRow("malformed tools", str(error)) from error
    if listed is None:
        return ()
    if not isinstance(listed, list):
        raise BrokenRow("malformed tools", "not a list of functions")
    return tuple(_read_tool(place, tool) for place, tool in enumerate(listed))


def _read_tool(place: int, tool: object) -> str:
    if isinstance(tool, dict) and isinstance(tool.get("function"), dict):
        complete = {"type": "function", **tool}
    else:
        complete = {"type": "function", "function": tool}
    function = complete["function"]
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise BrokenRow("malformed tools", f"tool {place} is not a function with a name")
    return msgspec.json.encode(complete).decode()


def check_text_only(row: Row) -> None:
    """BrokenRow for a row with images, audio or video."""
    for name in _MEDIA:
        if row.get(name):
            raise BrokenRow("multimodal row", f"'{name}'; only text is supported")


def clean(messages: Sequence[Message]) -> tuple[list[Message], list[str]]:
    """The messages as turns, with notes of the corrections: empty system messages are left out, calls in a message of
    their own are joined to their turn, reasoning is taken out of its `<think>` tags, end markers written out after an
    answer are removed. A tool result without a call is noted too."""
    notes: list[str] = []
    turns: list[Message] = []
    for message in messages:
        if message.role == "system" and not message.text:
            continue  # rendered, it would be a turn that does not exist when the model is used
        if message.role == "assistant":
            if message.content and isinstance(message.content[0], Text) and _THINK in message.content[0].text:
                message = _without_tags(message, notes)
            if message.content and isinstance(message.content[-1], Text) and message.text.endswith(_END_MARKERS):
                message = _without_end_marker(message, notes)
            if turns and turns[-1].role == "assistant" and _only_calls(message):
                turns[-1] = Message("assistant", turns[-1].content + message.content)
                notes.append(JOINED)
                continue
        if message.role == "tool" and turns and turns[-1].role == "assistant" and not _calls(turns[-1]):
            notes.append(WITHOUT_CALL)  # kept: some data sets write calls as plain text
        turns.append(message)
    return turns, notes


def _calls(message: Message) -> bool:
    return any(isinstance(part, ToolCall) for part in message.content)


def _only_calls(message: Message) -> bool:
    return bool(message.content) and all(isinstance(part, ToolCall) for part in message.content)


def _without_tags(message: Message, notes: list[str]) -> Message:
    first, *others = message.content
    assert isinstance(first, Text)
    opening = first.text.lstrip()
    if not opening.startswith(_THINK):
        return message
    thoughts, closed, answer = opening.removeprefix(_THINK).partition(_THINK_END)
    if not closed:
        raise BrokenRow("reasoning without an end", f"{_THINK} is never closed by {_THINK_END}")
    notes.append(THINK_TAGS)
    # Line breaks around tags belong to the tags: each template writes its own.
    parts: list[Part] = [Reasoning(thoughts.strip("\n"))] if thoughts.strip() else []
    if answer.lstrip("\n"):
        parts.append(Text(answer.lstrip("\n")))
    return Message(message.role, (*parts, *others))


def _without_end_marker(message: Message, notes: list[str]) -> Message:
    *others, last = message.content
    assert isinstance(last, Text)
    notes.append(END_MARKER)
    marker = next(marker for marker in _END_MARKERS if last.text.endswith(marker))
    return Message(message.role, (*others, Text(last.text.removesuffix(marker))))


def until_last_answer(turns: list[Message], notes: list[str]) -> list[Message]:
    """The turns up to the last answer; later turns have none."""
    end = len(turns)
    while end and turns[end - 1].role != "assistant":
        end -= 1
    if end in (0, len(turns)):
        return turns
    notes.append(CUT_OFF)
    return turns[:end]


def check_learnable(turns: Sequence[Message]) -> None:
    """BrokenRow for turns that cannot be a conversation, or that must not be trained on."""
    if not turns:
        raise BrokenRow("empty conversation")
    roles = {turn.role for turn in turns}
    if not roles.issuperset(("user", "assistant")):
        raise BrokenRow("one-sided conversation", f"no message of the {'assistant' if 'user' in roles else 'user'}")
    before = None
    for place, turn in enumerate(turns):
        if turn.role == before and turn.role in ("user", "assistant"):
            raise BrokenRow(f"two {turn.role} turns in a row", f"messages {place - 1} and {place}; is one missing?")
        before = turn.role
    conversation = Conversation(tuple(turns))
    try:
        check(conversation)
        check_answers(conversation)
    except ValueError as error:
        detail = str(error).removeprefix(f"{conversation_name(conversation)}, ")
        raise BrokenRow("a message that cannot be learned from", detail) from error
