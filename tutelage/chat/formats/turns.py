"""What all formats share: messages as OpenAI and ShareGPT write them, tools, and turns made fit to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from tutelage.chat.formats.rows import BrokenRow, Row
from tutelage.chat.render.template import check, check_answers, named
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
# The assistant's turn, and in it nothing but calls, as ShareGPT writes them.
_CALLS = ("function_call", "tool_call")
_MEDIA = ("image", "images", "audio", "audios", "video", "videos")
_WORDS = ("text", "input_text", "output_text")
_THOUGHTS = ("reasoning", "thinking")
_THINK, _THOUGHT = "<think>", "</think>"

# What other tools write where a turn ends; the template has an end of its own, which is a token and not a text.
_END_MARKERS = ("<|endoftext|>", "<|im_end|>", "<|eot_id|>", "<|end|>", "<end_of_turn>", "</s>")

CUT_OFF = "turns after the last answer, cut off"
THINK_TAGS = "reasoning taken out of <think> tags"
END_MARKER = "an end marker written out after an answer, taken off"
WITHOUT_CALL = "tool results without a call"
JOINED = "calls joined to the turn they belong to"


class Dialogue(NamedTuple):
    """What a row says, before it is known whether it can be learned from; `notes` say what was mended in it."""

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
    function_call: _Function | None = None  # what came before tool_calls
    weight: float | None = None
    loss_weight: float | None = None


def read_messages(written: object, field: str) -> list[Message]:
    """The messages of a list `[{"role", "content", "tool_calls" ...}]` or `[{"from", "value"}]`."""
    if not isinstance(written, list):
        raise BrokenRow("malformed message", f"'{field}' is not a list")
    return [read_message(place, one) for place, one in enumerate(written)]


def read_message(place: int, written: object) -> Message:
    """One message of either layout; `place` is its number, for errors."""
    try:
        given = msgspec.convert(written, _Message)
    except msgspec.ValidationError as error:
        raise BrokenRow("malformed message", f"message {place}: {error}") from error
    name = given.role or given.sender or ""
    content = given.value if given.content is None else given.content
    if name in _CALLS:
        if not isinstance(content, str):
            raise BrokenRow("malformed tool call", f"message {place}: it is not a text")
        return Message("assistant", tuple(_read_calls(place, content)))
    if name not in ROLES:
        known = ", ".join((*ROLES, *_CALLS))
        raise BrokenRow("unknown role", f"message {place}: {name[:40]!r} is none of {known}")
    role = ROLES[name]
    parts: list[Part] = [Text(content)] if isinstance(content, str) else _read_parts(place, content or ())
    if role == "tool":
        return Message(role, (ToolResult("".join(part.text for part in parts if isinstance(part, Text))),))
    if role == "assistant" and {given.weight, given.loss_weight} - {None, 1}:
        raise BrokenRow("weighted message", f"message {place}: all are learned from; remove the weight, or the row")
    calls = [call.function for call in given.tool_calls or ()] + ([given.function_call] if given.function_call else [])
    thoughts = given.reasoning_content or given.reasoning or given.thinking
    reasoning: list[Part] = [Reasoning(thoughts)] if thoughts else []
    said = [part for part in parts if isinstance(part, ToolCall) or part.text]
    return Message(role, (*reasoning, *said, *map(_read_call, calls)))


def _read_parts(place: int, parts: Sequence[_Part]) -> list[Part]:
    read: list[Part] = []
    for part in parts:
        text = next((t for t in (part.text, part.value, part.content, part.thinking) if t is not None), None)
        if part.type.startswith(("image", "audio", "video", "input_image", "input_audio", "file", "input_file")):
            raise BrokenRow("multimodal row", f"message {place}: {part.type[:40]!r}; only text is learned from")
        if text is None:
            raise BrokenRow("malformed message", f"message {place}: a part of type {part.type[:40]!r} without text")
        if part.type in _WORDS:
            if read and isinstance(before := read[-1], Text):
                text = before.text + text  # how a text was cut into parts is not to be learned
                read.pop()
            read.append(Text(text))
        elif part.type in _THOUGHTS:
            read.append(Reasoning(text))
        elif part.type in _CALLS:
            read.extend(_read_calls(place, text))
        else:
            raise BrokenRow("malformed message", f"message {place}: unknown type of part {part.type[:40]!r}")
    return read


def _read_calls(place: int, text: str) -> list[ToolCall]:
    try:
        written = msgspec.json.decode(text, type=list[_Function] | _Function)
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise BrokenRow("malformed tool call", f"message {place}: {error}") from error
    return [_read_call(one) for one in (written if isinstance(written, list) else [written])]


def _read_call(function: _Function) -> ToolCall:
    written = function.arguments
    return ToolCall(function.name, written if isinstance(written, str) else msgspec.json.encode(written).decode())


def read_tools(row: Row) -> tuple[str, ...]:
    """The functions that a row offers, under 'tools' or 'functions', each as a JSON text in OpenAI's layout."""
    written = row.get("tools") or row.get("functions")
    try:
        listed = msgspec.json.decode(written) if isinstance(written, str) else written
    except msgspec.DecodeError as error:
        raise BrokenRow("malformed tools", str(error)) from error
    if listed is None:
        return ()
    if not isinstance(listed, list):
        raise BrokenRow("malformed tools", "not a list of functions")
    return tuple(_read_tool(place, tool) for place, tool in enumerate(listed))


def _read_tool(place: int, tool: object) -> str:
    if isinstance(tool, dict) and isinstance(tool.get("function"), dict):
        whole = {"type": "function", **tool}
    else:
        whole = {"type": "function", "function": tool}
    function = whole["function"]
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise BrokenRow("malformed tools", f"tool {place} is no function with a name")
    return msgspec.json.encode(whole).decode()


def refuse_media(row: Row) -> None:
    """BrokenRow for a row that has pictures or sound beside its words."""
    for name in _MEDIA:
        if row.get(name):
            raise BrokenRow("multimodal row", f"'{name}'; only text is learned from")


def tidy(messages: Sequence[Message]) -> tuple[list[Message], list[str]]:
    """The messages as turns, with notes of what was mended: empty system messages are left out, calls that stand in a
    message of their own join the turn they belong to, reasoning leaves its `<think>` tags, end markers that are written
    out after an answer are taken off. A result that follows no call is noted too."""
    notes: list[str] = []
    turns: list[Message] = []
    for message in messages:
        if message.role == "system" and not message.text:
            continue  # written out, it would be a turn that is not there when the model is used
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
            notes.append(WITHOUT_CALL)  # kept, for some write their calls as plain words
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
    thoughts, closed, said = opening.removeprefix(_THINK).partition(_THOUGHT)
    if not closed:
        raise BrokenRow("reasoning without an end", f"{_THINK} is never closed by {_THOUGHT}")
    notes.append(THINK_TAGS)
    # The line breaks around tags belong to the tags: each template writes its own.
    parts: list[Part] = [Reasoning(thoughts.strip("\n"))] if thoughts.strip() else []
    if said.lstrip("\n"):
        parts.append(Text(said.lstrip("\n")))
    return Message(message.role, (*parts, *others))


def _without_end_marker(message: Message, notes: list[str]) -> Message:
    *others, last = message.content
    assert isinstance(last, Text)
    notes.append(END_MARKER)
    marker = next(marker for marker in _END_MARKERS if last.text.endswith(marker))
    return Message(message.role, (*others, Text(last.text.removesuffix(marker))))


def until_last_answer(turns: list[Message], notes: list[str]) -> list[Message]:
    """The turns up to the last of the assistant: what comes after it, nobody answered."""
    end = len(turns)
    while end and turns[end - 1].role != "assistant":
        end -= 1
    if end in (0, len(turns)):
        return turns
    notes.append(CUT_OFF)
    return turns[:end]


def refuse_unlearnable(turns: Sequence[Message]) -> None:
    """BrokenRow for turns that no chat has, or that would teach something wrong."""
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
        detail = str(error).removeprefix(f"{named(conversation)}, ")
        raise BrokenRow("a message that cannot be learned from", detail) from error
