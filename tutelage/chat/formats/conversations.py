"""Rows to conversations: the known formats, how each is recognised and read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from tutelage.chat.formats.tasks import is_question, is_target, read_question, read_target
from tutelage.chat.formats.tools import read_calls, read_tools
from tutelage.chat.formats.turns import Dialogue, read_messages
from tutelage.chat.render.config import template_settings
from tutelage.io.row import BrokenRow, Row
from tutelage.records import Message, Role, Text, ToolCall, ToolResult, message

_PROMPTS = ("prompt", "instruction", "query", "question")
_INPUTS = ("input", "context")  # the input of an instruction
_ANSWERS = ("completion", "response", "output", "answer")
_SYSTEMS = ("system", "system_prompt", "system_message")

DELETED = "deleted messages of a tree, left out"
EARLIER = "answers inside a prompt, learned from like the last"


class Format(NamedTuple):
    """The fields of a format, for messages; a function that recognises its rows; and one that reads them or raises
    BrokenRow.

    Most rows are one conversation; a tree, or an instruction with several instances, is several.
    """

    fields: str
    recognises: Callable[[Row], bool]
    read: Callable[[Row], list[Dialogue]]


def has(row: Row, *names: str) -> bool:
    """Whether a row has values in all these fields; in Parquet every row has every field, but it may be empty."""
    return all(row.get(name) is not None for name in names)


def _read_list(field: str) -> Callable[[Row], list[Dialogue]]:
    """A reader of rows with a list of messages in `field`, and perhaps the system message and tools beside it."""

    def read(row: Row) -> list[Dialogue]:
        messages = with_system(row, read_messages(row[field], field))
        return [Dialogue(messages, read_tools(row) or _tools_of_system(row[field]))]

    return read


def _tools_of_system(messages: list[Mapping[str, Any]]) -> tuple[str, ...]:
    """The tools in a field of the system message."""
    holds = (message for message in messages if message.get("role", message.get("from")) in ("system", "developer"))
    return next((tools for message in holds if (tools := read_tools(message))), ())


def _read_query_calls(row: Row) -> list[Dialogue]:
    """A question, tools, and the calls that answer it, as in the sets for function calling of Salesforce (xLAM)."""
    answers = row["answers"] if isinstance(row["answers"], str) else msgspec.json.encode(row["answers"]).decode()
    question, calls = one_text(row, ("query",)), Message("assistant", tuple(read_calls(1, answers)))
    return [Dialogue(with_system(row, [message("user", question), calls]), read_tools(row))]


def with_system(row: Row, messages: list[Message]) -> list[Message]:
    """The messages, after the system message in another field of the row, if there is one."""
    system = one_text(row, _SYSTEMS)
    if system and any(m.role == "system" for m in messages):
        raise BrokenRow("ambiguous fields", "there is a system message in its own field and one among the messages")
    return [message("system", system), *messages] if system else messages


def read_prompt(row: Row) -> list[Message]:
    """The prompt: the instruction with its input, or a list of messages, after the history."""
    prompt = next((row[name] for name in _PROMPTS if row.get(name) is not None), "")
    if isinstance(prompt, list):
        return with_system(row, read_messages(prompt, "prompt"))
    text = "\n\n".join(filter(None, (one_text(row, _PROMPTS), one_text(row, _INPUTS))))
    return with_system(row, [*_history(row), message("user", text)])


def _history(row: Row) -> Iterator[Message]:
    history = row.get("history") or []
    if not isinstance(history, list):
        raise BrokenRow("malformed history", "it must be a list of [question, answer]")
    for turns in history:
        if not isinstance(turns, list) or len(turns) != 2 or not all(isinstance(turn, str) for turn in turns):
            raise BrokenRow("malformed history", "it must be a list of [question, answer]")
        yield message("user", turns[0])
        yield message("assistant", turns[1])


def read_answer(answer: object, field: str) -> list[Message]:
    """An answer that is a text, a message or a list of messages."""
    if isinstance(answer, str):
        return [message("assistant", answer)]
    return read_messages([answer] if isinstance(answer, Mapping) else answer, field)


def _read_pair(row: Row) -> list[Dialogue]:
    """One question and one answer, under any of their usual names."""
    prompt = read_prompt(row)
    structured = next((row[name] for name in _ANSWERS if isinstance(row.get(name), list | Mapping)), None)
    answer = read_answer(one_text(row, _ANSWERS) if structured is None else structured, "completion")
    earlier = not row.get("history") and any(m.role == "assistant" for m in prompt)
    return [Dialogue([*prompt, *answer], read_tools(row), (EARLIER,) if earlier else ())]


def one_text(row: Row, names: tuple[str, ...]) -> str:
    """The text of the only one of these fields that has a value; "" where none has."""
    filled = [name for name in names if row.get(name) is not None]
    if len(filled) > 1:
        raise BrokenRow("ambiguous fields", f"'{filled[0]}' and '{filled[1]}' mean the same; remove one")
    text = row[filled[0]] if filled else ""
    if not isinstance(text, str):
        raise BrokenRow("field that is not text", f"'{filled[0]}'")
    return text


def _read_instances(row: Row) -> list[Dialogue]:
    """An instruction with several inputs and outputs, as in Self-Instruct."""
    if not isinstance(row["instances"], list) or not row["instances"]:
        raise BrokenRow("malformed instances", "it must be a list of objects with input and output")
    dialogues = []
    for instance in row["instances"]:
        if not isinstance(instance, Mapping):
            raise BrokenRow("malformed instances", "an instance is not an object")
        pair = {"instruction": row["instruction"], "input": instance.get("input"), "output": instance.get("output")}
        dialogues += _read_pair(pair)
    return dialogues


def read_template_settings(row: Row) -> str:
    """The row's variables for the chat template, as a JSON object in text; "" where it has none."""
    settings = row.get("chat_template_kwargs") or row.get("template_settings") or {}
    try:
        settings = msgspec.json.decode(settings) if isinstance(settings, str) else settings
    except msgspec.DecodeError as error:
        raise BrokenRow("malformed template settings", str(error)) from error
    if isinstance(row.get("enable_thinking"), bool):
        settings = (
            {"enable_thinking": row["enable_thinking"], **settings} if isinstance(settings, Mapping) else settings
        )
    try:
        return template_settings(settings) if settings else ""
    except ValueError as error:
        raise BrokenRow("malformed template settings", str(error)) from error


class _Node(msgspec.Struct):
    text: str
    role: str
    rank: int | None = None
    deleted: bool | None = False
    replies: list[_Node] | None = None


_NODE_FIELDS = _Node.__struct_encode_fields__
_TREE_ROLES: dict[str, Role] = {"prompter": "user", "assistant": "assistant"}


def _root(row: Row) -> Row:
    root: Row = row["prompt"] if isinstance(row.get("prompt"), Mapping) else row
    return {name: root[name] for name in _NODE_FIELDS if name in root}


def _is_tree(row: Row) -> bool:
    return _root(row).keys() >= {"replies", "role"}


def _read_tree(row: Row, best: bool = False) -> list[Dialogue]:
    """Every path from the root of an OASST tree to a last answer, or the path of the best-ranked replies."""
    try:
        root = msgspec.convert(_root(row), _Node)
    except msgspec.ValidationError as error:
        raise BrokenRow("malformed tree", str(error)) from error
    notes: list[str] = []
    dialogues: list[Dialogue] = []
    open_: list[tuple[_Node, tuple[Message, ...]]] = [(root, ())]
    while open_:
        node, before = open_.pop()
        if node.role not in _TREE_ROLES:
            raise BrokenRow("unknown role", f"{node.role[:40]!r} is not one of {', '.join(_TREE_ROLES)}")
        path = (*before, message(_TREE_ROLES[node.role], node.text))
        replies = [reply for reply in node.replies or () if not reply.deleted]
        if len(replies) < len(node.replies or ()):
            notes.append(DELETED)
        # An unanswered question has nothing to train on; the path ends at the answer before it.
        continued = [reply for reply in replies if reply.role != "prompter" or _answered(reply)]
        if best and continued:
            continued = [min(continued, key=lambda reply: (reply.rank is None, reply.rank or 0))]
        open_.extend((reply, path) for reply in reversed(continued))
        if not continued:
            dialogues.append(Dialogue(path, notes=tuple(notes)))
            notes = []
    return dialogues


def _answered(node: _Node) -> bool:
    return any(not reply.deleted and reply.role == "assistant" for reply in node.replies or ())


def _read_best_of_tree(row: Row) -> list[Dialogue]:
    return _read_tree(row, best=True)


class _ServiceCall(msgspec.Struct):
    method: str
    parameters: dict[str, Any]


class _Frame(msgspec.Struct):
    service_call: _ServiceCall | None = None
    service_results: list[dict[str, Any]] | None = None


class _Utterance(msgspec.Struct):
    speaker: str
    utterance: str
    frames: list[_Frame] = []


def _read_guided(row: Row) -> list[Dialogue]:
    """A dialogue of the Schema-Guided Dialogue set: a service call is a tool call and its result."""
    try:
        turns = msgspec.convert(row["turns"], list[_Utterance])
    except msgspec.ValidationError as error:
        raise BrokenRow("malformed message", str(error)) from error
    messages: list[Message] = []
    for turn in turns:
        if turn.speaker not in ("USER", "SYSTEM"):
            raise BrokenRow("unknown role", f"{turn.speaker[:40]!r} is neither USER nor SYSTEM")
        for frame in turn.frames:
            if frame.service_call:
                arguments = msgspec.json.encode(frame.service_call.parameters).decode()
                results = msgspec.json.encode(frame.service_results or []).decode()
                messages.append(Message("assistant", (ToolCall(frame.service_call.method, arguments),)))
                messages.append(Message("tool", (ToolResult(results),)))
        role: Role = "user" if turn.speaker == "USER" else "assistant"
        messages.append(Message(role, (Text(turn.utterance),)))
    return [Dialogue(messages)]


def _single(read: Callable[[Row], Dialogue]) -> Callable[[Row], list[Dialogue]]:
    return lambda row: [read(row)]


def _any(row: Row, names: tuple[str, ...]) -> bool:
    return any(row.get(name) is not None for name in names)


# The first format that recognises a row is used. "oasst-best" is never detected; it must be named.
FORMATS: dict[str, Format] = {
    "messages": Format("'messages'", lambda row: has(row, "messages"), _read_list("messages")),
    "sharegpt": Format(
        "'conversations'", lambda row: has(row, "conversations") and not has(row, "chosen"), _read_list("conversations")
    ),
    "oasst": Format("a tree of 'replies'", _is_tree, _read_tree),
    "oasst-best": Format("a tree of 'replies'", _is_tree, _read_best_of_tree),
    "self-instruct": Format(
        "'instruction' and 'instances'", lambda row: has(row, "instruction", "instances"), _read_instances
    ),
    "sgd": Format("'dialogue_id' and 'turns'", lambda row: has(row, "dialogue_id", "turns"), _read_guided),
    "alpaca": Format("'instruction' and 'output'", lambda row: has(row, "instruction", "output"), _read_pair),
    "dolly": Format("'instruction' and 'response'", lambda row: has(row, "instruction", "response"), _read_pair),
    "query-calls": Format(
        "'query', 'tools' and 'answers'", lambda row: has(row, "query", "tools", "answers"), _read_query_calls
    ),
    "question": Format("'question' and 'answer'", is_question, _single(read_question)),
    "prompt-completion": Format(
        "'prompt' and 'completion'", lambda row: _any(row, _PROMPTS) and _any(row, _ANSWERS), _read_pair
    ),
    "inputs-targets": Format("'inputs' and 'targets'", is_target, _single(read_target)),
}
