"""Shared by all formats: OpenAI and ShareGPT messages, and turns cleaned and checked for training."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import msgspec

from tutelage.chat.formats.tools import Call, Function, pair_results, read_call, read_calls
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
# A filled field of a row with such a name holds a medium, or says where one is.
_MEDIA_FIELD = re.compile(r"(?:images?|pictures?|audios?|videos?)(?:_(?:paths?|urls?|files?|names?|bytes|ids?))?", re.I)
_TEXT_TYPES = ("text", "input_text", "output_text")
_REASONING_TYPES = ("reasoning", "thinking")
_THINK, _THINK_END = "<think>", "</think>"
# Fields that say whether a row, or a message, is learned: true or 1, false or 0.
ROW_LOSS_MARKS = ("weight", "loss_weight")
LOSS_MARKS = (*ROW_LOSS_MARKS, "loss", "train", "trainable", "training", "loss_mask", "train_on_turn")
# Fields that say so in two ways, or of a part of a message.
_UNCLEAR_MARKS = {
    "mask": "a mask of 1 may mean either; write loss: true or false",
    "masked": "write loss: true or false",
    "train_detail": "a message is learned whole or not; write loss: true or false",
    "training_detail": "a message is learned whole or not; write loss: true or false",
}
# A picture, video or sound that the row does not hold as a field: a mark on a line of its own, or before the question.
# An image may come after the question too; "the tag <video>" is more likely about HTML.
_IMAGE, _MEDIUM = (rf"(<\|?{names}(?:_?pad|_?\d+)?\|?>)" for names in ("image", "(?:image|video|audio)"))
_MEDIA_MARK = re.compile(rf"\A\s*{_MEDIUM}|^[ \t]*{_MEDIUM}[ \t]*$|{_IMAGE}\s*\Z", re.MULTILINE)

# Written by other tools at the end of a turn; the template has its own end, which is a token and not text.
_END_MARKERS = ("<|endoftext|>", "<|im_end|>", "<|eot_id|>", "<|end|>", "<end_of_turn>", "</s>")

CUT_OFF = "turns after the last answer, cut off"
THINK_TAGS = "reasoning in <think> tags"
END_MARKER = "an end marker written out after an answer, taken off"
OPENING = "an opening assistant turn, which answers nobody: read and not trained"
NOT_TRAINED = "answers marked as not to be learned"
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


class _Message(msgspec.Struct):
    role: str | None = None
    sender: str | None = msgspec.field(default=None, name="from")
    content: str | list[_Part] | None = None
    value: str | list[_Part] | None = None
    refusal: str | None = None  # in place of the content, where OpenAI's model declines
    reasoning_content: str | None = None
    reasoning: str | None = None
    thinking: str | None = None
    tool_calls: list[Call] | None = None
    function_call: Function | None = None  # the predecessor of tool_calls
    tool_call_id: str | None = None
    name: str | None = None
    # Whether an answer is learned; see LOSS_MARKS.
    loss: float | bool | None = None
    train: float | bool | None = None
    trainable: float | bool | None = None
    training: float | bool | None = None
    loss_mask: float | bool | None = None
    train_on_turn: float | bool | None = None
    weight: float | bool | None = None
    loss_weight: float | bool | None = None


MESSAGE_FIELDS = frozenset(_Message.__struct_encode_fields__)


def with_message_lists(row: Row) -> Row:
    """The row with each table of messages, `{"role": [...], "content": [...]}`, as a list of messages. A table is how
    Arrow's data sets keep a list of objects.

    Raises:
        BrokenRow: the columns of a table have different lengths.
    """
    tables = {name: value for name, value in row.items() if isinstance(value, Mapping) and _is_table(value)}
    return {**row, **{name: _as_messages(table, name) for name, table in tables.items()}} if tables else row


def _is_table(value: Mapping[str, object]) -> bool:
    return isinstance(value.get("role", value.get("from")), list)


def _as_messages(table: Mapping[str, object], field: str) -> list[dict[str, object]]:
    columns = {name: column for name, column in table.items() if column is not None}
    lengths = {len(column) if isinstance(column, list) else -1 for column in columns.values()}
    if len(lengths) > 1:
        raise BrokenRow("malformed message", f"the columns of '{field}' have different lengths")
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


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
    if isinstance(message, Mapping) and (mark := next((n for n in _UNCLEAR_MARKS if message.get(n) is not None), None)):
        raise BrokenRow("unclear loss mark", f"message {place}: '{mark}': {_UNCLEAR_MARKS[mark]}")
    name = raw.role or raw.sender or ""
    content = (raw.value if raw.content is None else raw.content) or raw.refusal
    if name in _CALLS:
        if not isinstance(content, str):
            raise BrokenRow("malformed tool call", f"message {place}: it is not a text")
        return Message("assistant", tuple(read_calls(place, content)), raw.name or "", _is_trained(place, raw, True))
    if name not in ROLES:
        known = ", ".join((*ROLES, *_CALLS))
        raise BrokenRow("unknown role", f"message {place}: {name[:40]!r} is not one of {known}")
    role = ROLES[name]
    parts: list[Part] = [Text(content)] if isinstance(content, str) else _read_parts(place, content or ())
    if role == "tool":
        text = "".join(part.text for part in parts if isinstance(part, Text))
        return Message(role, (ToolResult(text, raw.tool_call_id or ""),))
    calls = [read_call(call.function, call.id) for call in raw.tool_calls or ()]
    calls += [read_call(raw.function_call)] if raw.function_call else []
    thoughts = raw.reasoning_content or raw.reasoning or raw.thinking
    reasoning: list[Part] = [Reasoning(thoughts)] if thoughts else []
    spoken = [part for part in parts if isinstance(part, ToolCall) or part.text]
    trained = _is_trained(place, raw, role == "assistant")
    return Message(role, (*reasoning, *spoken, *calls), raw.name or "", trained)


def _is_trained(place: int, raw: _Message, by_assistant: bool) -> bool:
    """Whether a message is learned, by its marks."""
    if not by_assistant:
        if any(getattr(raw, name) for name in LOSS_MARKS[2:]):  # a weight of 1 is what every message has
            raise BrokenRow("a message of another role marked to be learned", f"message {place}; remove the mark")
        return True
    return loss_mark({name: getattr(raw, name) for name in LOSS_MARKS}, f"message {place}")


def loss_mark(marks: Mapping[str, object], where: str) -> bool:
    """Whether the marks of a message or a row say that it is learned; without a mark it is."""
    values = {float(mark) for mark in marks.values() if isinstance(mark, bool | int | float)}
    if values - {0.0, 1.0}:
        raise BrokenRow("weighted message", f"{where}: a weight is 0 or 1; correct the weight or remove the row")
    if len(values) > 1:
        raise BrokenRow("contradictory loss marks", f"{where}: one says that it is learned, another that it is not")
    return values != {0.0}


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
            read.extend(read_calls(place, text))
        else:
            raise BrokenRow("malformed message", f"message {place}: unknown type of part {part.type[:40]!r}")
    return read


def check_text_only(row: Row) -> None:
    """BrokenRow for a row with images, audio or video."""
    for name, value in row.items():
        if value and _MEDIA_FIELD.fullmatch(name):
            raise BrokenRow("multimodal row", f"'{name}'; only text is supported")


def clean(messages: Sequence[Message]) -> tuple[list[Message], list[str]]:
    """The messages as turns, with notes of the corrections: empty system messages are left out, calls in a message of
    their own are joined to their turn, reasoning is taken out of its `<think>` tags, end markers written out after an
    answer are removed, tool results are put in the order of their calls. An assistant turn before the first user turn
    is not trained."""
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
            if (
                turns
                and turns[-1].role == "assistant"
                and _only_calls(message)
                and turns[-1].trained == message.trained
            ):
                turns[-1] = replace(turns[-1], content=turns[-1].content + message.content)
                notes.append(JOINED)
                continue
            if message.trained and all(turn.role == "system" for turn in turns):
                message = replace(message, trained=False)
                notes.append(OPENING)
            elif not message.trained:
                notes.append(NOT_TRAINED)
        turns.append(message)
    return pair_results(turns, notes), notes


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
    return replace(message, content=(*parts, *others))


def _without_end_marker(message: Message, notes: list[str]) -> Message:
    *others, last = message.content
    assert isinstance(last, Text)
    notes.append(END_MARKER)
    marker = next(marker for marker in _END_MARKERS if last.text.endswith(marker))
    return replace(message, content=(*others, Text(last.text.removesuffix(marker))))


def until_last_answer(turns: list[Message], notes: list[str]) -> list[Message]:
    """The turns up to the last answer that is learned; nothing is learned of later turns."""
    end = len(turns)
    while end and not (turns[end - 1].role == "assistant" and turns[end - 1].trained):
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
        if turn.role == "user" and (mark := _media_mark(turn.text)):
            raise BrokenRow("multimodal row", f"message {place}: {mark}; only text is supported")
    if not any(turn.role == "assistant" and turn.trained for turn in turns):
        detail = "all are marked as not to be learned, or answer nobody; are user and assistant exchanged?"
        raise BrokenRow("no answer to be learned", detail)
    conversation = Conversation(tuple(turns))
    try:
        check(conversation)
        check_answers(conversation)
    except ValueError as error:
        detail = str(error).removeprefix(f"{conversation_name(conversation)}, ")
        raise BrokenRow("a message that cannot be learned from", detail) from error


def _media_mark(text: str) -> str:
    """The mark of a medium in a question; "" where there is none. HTML about a medium closes what it opens."""
    found = _MEDIA_MARK.search(text) if "<" in text else None
    mark = next(filter(None, found.groups())) if found else ""
    return mark if mark.replace("<", "</") not in text else ""
