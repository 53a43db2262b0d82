"""Files of conversations: JSON lines, plain or gzipped, turned row by row into Conversations.

A broken row is left out, counted and named. A file with too many of them is refused.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec

from tutelage.chat.template import check, check_answers, named
from tutelage.files import explain
from tutelage.ledger import Ledger
from tutelage.records import Conversation, Message, Part, Reasoning, Role, Text, ToolCall, ToolResult, message

LONGEST_ROW = 64 * 2**20  # bytes; a longer line is a file of another kind, and would not fit into memory
ROWS_TO_JUDGE = 100  # a file whose first rows are all broken is no file of conversations: why read the rest?
BROKEN_SHOWN = 3
_DETAIL_SHOWN = 200  # characters; a detail may quote the row, and a row may be long

_GZIP = b"\x1f\x8b"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_PROMPTS = ("prompt", "instruction")
_INPUTS = ("input", "context")  # what an instruction is to be applied to
_ANSWERS = ("completion", "response", "output")
_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}

Row = Mapping[str, Any]


class BrokenRow(ValueError):
    """A row that is no conversation. `reason` is one of a few that a ledger can count by; the message says more."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason} ({detail[:_DETAIL_SHOWN]})" if detail else reason)
        self.reason = reason


class Format(NamedTuple):
    """The fields that a format has, for a person; how its rows are told from others; what they say, or BrokenRow."""

    fields: str
    recognises: Callable[[Row], bool]
    read: Callable[[Row], tuple[Message, ...]]


class _TextPart(msgspec.Struct, tag="text", tag_field="type"):
    text: str


class _Function(msgspec.Struct):
    name: str
    arguments: str | dict[str, Any]


class _Call(msgspec.Struct):
    function: _Function


class _Message(msgspec.Struct):
    role: str
    content: str | list[_TextPart] | None = None
    reasoning_content: str | None = None
    tool_calls: list[_Call] | None = None
    function_call: None = None  # what came before tool_calls; refused, for left out it would be lost
    weight: float | None = None


def _read_messages(row: Row) -> tuple[Message, ...]:
    """OpenAI's layout: `{"messages": [{"role", "content", "tool_calls"}]}`."""
    if not isinstance(row["messages"], list):
        raise BrokenRow("malformed message", "'messages' is not a list")
    read = (_read_message(place, written) for place, written in enumerate(row["messages"]))
    # An empty system message stands for none; written out, it would be a turn that is not there when the model is used.
    return tuple(m for m in read if m.content or m.role != "system")


def _read_message(place: int, written: object) -> Message:
    try:
        given = msgspec.convert(written, _Message)
    except msgspec.ValidationError as error:
        raise BrokenRow("malformed message", f"message {place}: {error}") from error
    if given.role not in _ROLES:
        raise BrokenRow("unknown role", f"message {place}: {given.role[:40]!r} is none of {', '.join(_ROLES)}")
    role = _ROLES[given.role]
    if role == "assistant" and given.weight not in (None, 1):
        raise BrokenRow("weighted message", f"message {place}: all are learned from; remove the weight, or the row")
    content = given.content or ""
    text = content if isinstance(content, str) else "".join(part.text for part in content)
    if role == "tool":
        return Message(role, (ToolResult(text),))
    parts: list[Part] = [Reasoning(given.reasoning_content)] if given.reasoning_content else []
    if text:
        parts.append(Text(text))
    parts.extend(_read_call(call.function) for call in given.tool_calls or ())
    return Message(role, tuple(parts))


def _read_call(function: _Function) -> ToolCall:
    written = function.arguments
    return ToolCall(function.name, written if isinstance(written, str) else msgspec.json.encode(written).decode())


def _read_pair(row: Row) -> tuple[Message, ...]:
    """One question and one answer, under the names that the field has for them."""
    if row.get("history"):
        raise BrokenRow("earlier turns in 'history'", "write the whole conversation as 'messages'")
    asked = "\n\n".join(filter(None, (_one_text(row, _PROMPTS), _one_text(row, _INPUTS))))
    turns = (message("user", asked), message("assistant", _one_text(row, _ANSWERS)))
    system = _one_text(row, ("system",))
    return (message("system", system), *turns) if system else turns


def _one_text(row: Row, names: tuple[str, ...]) -> str:
    """The text under the only one of these names that the row fills; "" where it fills none."""
    filled = [name for name in names if row.get(name) is not None]
    if len(filled) > 1:
        raise BrokenRow("ambiguous fields", f"'{filled[0]}' and '{filled[1]}' mean the same; leave one out")
    text = row[filled[0]] if filled else ""
    if not isinstance(text, str):
        raise BrokenRow("field that is not text", f"'{filled[0]}'")
    return text


# The first that recognises a row is its format.
FORMATS: dict[str, Format] = {
    "messages": Format("'messages'", lambda row: "messages" in row, _read_messages),
    "prompt-completion": Format(
        "'prompt' and 'completion'",
        lambda row: any(name in row for name in _PROMPTS) and any(name in row for name in _ANSWERS),
        _read_pair,
    ),
}


def detect(row: Row) -> str:
    """The name in FORMATS of the format that a row is in; BrokenRow if it is in none."""
    for name, format_ in FORMATS.items():
        if format_.recognises(row):
            return name
    fields = ", ".join(repr(name[:40]) for name in list(row)[:8]) or "none"
    known = ", or ".join(format_.fields for format_ in FORMATS.values())
    raise BrokenRow("no known format", f"its fields: {fields}; known: {known}")


def read_conversations(path: Path, ledger: Ledger, max_broken: float = 0.01) -> Iterator[Conversation]:
    """The conversations of a JSON-lines file, plain or gzipped; its first row in one of FORMATS decides which.

    A row that is no conversation to learn from is dropped, with its place and reason in `ledger`; so are blank lines,
    which count as neither good nor broken. Each conversation's id is "FILE:LINE", with the file's name but not its
    folder, so that the same rows are held out wherever the file lies. Memory does not grow with the file.

    Raises:
        DiskError: the file cannot be read.
        ValueError: the file has no rows; or its first 100 rows are all broken; or, at its end, more than the share
            `max_broken` of its rows are. The sentence names the first of them.
    """
    if not 0 <= max_broken <= 1:
        raise ValueError(f"max_broken is a share of rows from 0 to 1, not {max_broken}")
    _refuse_missing(path)
    return _conversations(path, ledger, max_broken)


def _conversations(path: Path, ledger: Ledger, max_broken: float) -> Iterator[Conversation]:
    format_name = ""
    rows = broken = 0
    first: list[str] = []
    for place, line in _lines(path):
        ledger.read()
        if line is not None and not line.strip():
            ledger.drop("blank line")
            continue
        rows += 1
        try:
            row = _decode(line)
            format_name = format_name or detect(row)
            conversation = _read_row(row, format_name, place)
        except BrokenRow as error:
            broken += 1
            ledger.drop(error.reason, where=f"{place}: {error}")
            if len(first) < BROKEN_SHOWN:
                first.append(f"{place}: {error}")
            if broken == rows == ROWS_TO_JUDGE:
                break
        else:
            ledger.keep()
            yield conversation
    if rows == 0:
        raise ValueError(f"{path} has no rows; write one conversation a line into it, as a JSON object")
    if broken == rows == ROWS_TO_JUDGE:
        found = f"{path}: the first {rows} rows are all broken: {'; '.join(first)}"
        raise ValueError(f"{found}; name a file with one conversation a line, as a JSON object")
    if broken / rows > max_broken:
        found = f"{path}: {broken:,} of {rows:,} rows are broken, more than max_broken = {max_broken:g} allows"
        raise ValueError(f"{found}: {'; '.join(first)}; mend the lines, or raise max_broken to leave them out")


def _read_row(row: Row, format_name: str, place: str) -> Conversation:
    format_ = FORMATS[format_name]
    if not format_.recognises(row):
        raise BrokenRow("another format than the first row's", f"which is '{format_name}'")
    conversation = Conversation(format_.read(row), place)
    roles = {m.role for m in conversation.messages}
    if not roles:
        raise BrokenRow("empty conversation")
    if not roles.issuperset(("user", "assistant")):
        raise BrokenRow("one-sided conversation", f"no message of the {'assistant' if 'user' in roles else 'user'}")
    try:
        check(conversation)
        check_answers(conversation)
    except ValueError as error:
        detail = str(error).removeprefix(f"{named(conversation)}, ")
        raise BrokenRow("a message that cannot be learned from", detail) from error
    except RecursionError as error:  # the arguments of a tool call are JSON of their own
        raise BrokenRow("a message that cannot be learned from", "a tool call nested too deep") from error
    return conversation


def _decode(line: bytes | None) -> Row:
    if line is None:
        raise BrokenRow(f"longer than {LONGEST_ROW // 2**20} MiB")
    try:
        row = msgspec.json.decode(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BrokenRow("invalid UTF-8", f"byte {error.start}") from error
    except msgspec.DecodeError as error:
        if line.lstrip().startswith(b"["):
            raise BrokenRow("not a JSON object", "a list over several lines; write one object a line") from error
        raise BrokenRow("not JSON", str(error)) from error
    except RecursionError as error:
        raise BrokenRow("not JSON", "nested too deep") from error
    if not isinstance(row, dict):
        raise BrokenRow("not a JSON object", "write one object a line")
    return row


class _Prompt(msgspec.Struct, forbid_unknown_fields=True):
    set: str
    prompt: str


def read_prompts(path: Path) -> dict[str, list[Conversation]]:
    """The prompts of a JSON-lines file of `{"set", "prompt"}` rows, by set, as conversations of one user message each.

    Blank lines are skipped; their ids are as in `read_conversations`.

    Raises:
        DiskError: the file cannot be read.
        ValueError: a row is broken, the sentence naming file and line, or there is none.
    """
    _refuse_missing(path)
    sets: dict[str, list[Conversation]] = {}
    for place, line in _lines(path):
        if line is not None and not line.strip():
            continue
        try:
            row = msgspec.convert(_decode(line), _Prompt)
        except (BrokenRow, msgspec.ValidationError) as error:
            raise ValueError(
                f"{path.with_name(place)}: {error}; a row is {{'set': ..., 'prompt': ...}}: mend it"
            ) from error
        if not row.set.strip() or not row.prompt.strip():
            raise ValueError(f"{path.with_name(place)}: an empty set or prompt; fill it or remove the line")
        sets.setdefault(row.set, []).append(Conversation((message("user", row.prompt),), place))
    if not sets:
        raise ValueError(f"{path} has no rows; write one {{'set': ..., 'prompt': ...}} a line into it")
    return sets


def _refuse_missing(path: Path) -> None:
    # Before the first row is asked for, so that a wrong path is told where it is given.
    try:
        path.stat()
    except OSError as error:
        raise explain(error, path, "read") from error
    if path.is_dir():
        raise ValueError(f"{path} is a folder; name a file in it, one JSON object a line")


def _lines(path: Path) -> Iterator[tuple[str, bytes | None]]:
    """Each line with its place "FILE:LINE", from 1; None for one longer than LONGEST_ROW, which is not kept."""
    number = 0
    try:
        with path.open("rb") as raw:
            file: IO[bytes] | gzip.GzipFile = gzip.GzipFile(fileobj=raw) if raw.peek(2).startswith(_GZIP) else raw
            while line := file.readline(LONGEST_ROW + 1):
                number += 1
                if len(line) > LONGEST_ROW:
                    while line and not line.endswith(b"\n"):
                        line = file.readline(2**20)
                    yield f"{path.name}:{number}", None
                else:
                    yield f"{path.name}:{number}", line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is damaged after line {number} ({error}); fetch or compress it again") from error
    except OSError as error:
        raise explain(error, path, "read") from error
