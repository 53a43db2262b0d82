"""Fixes a file by leaving rows out: writes a new file, and a ledger of what was dropped."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from tutelage.chat.audit.checks.personal_data import mask_row
from tutelage.chat.audit.report import Report
from tutelage.chat.formats import read_conversations
from tutelage.files import atomic_file, to_json, write_json
from tutelage.ledger import Ledger
from tutelage.records import Conversation, Message, Reasoning, Text, ToolCall, ToolResult


@dataclass(frozen=True)
class FixedFile:
    """The file that was written, and the ledger beside it."""

    path: Path
    ledger_path: Path
    ledger: Ledger


def fix_file(report: Report, out: Path, pii: bool = False) -> FixedFile:
    """Write the conversations without an auto-fixable finding, a line of OpenAI messages each, and a ledger beside them
    ("OUT.ledger.json"): rows read = kept + dropped, by reason. `pii`: with placeholders for personal data, names of
    people included; the ledger notes the rows. The audited file is not changed.

    Raises:
        ValueError: `out` is the audited file, or that file has changed since the audit, or nothing would be left.
        DiskError: the file cannot be written.
    """
    path = Path(report.path)
    if out.exists() and path.exists() and out.samefile(path):
        raise ValueError(f"--fix {out} is the audited file, which is never changed; give another name")
    left_out = report.left_out()
    if len(left_out) == report.conversations:
        raise ValueError(f"every conversation of {path} has a finding, so none would be left; correct the file by hand")
    reading, ledger = Ledger("reading"), Ledger(f"{path} -> {out}")
    row = -1
    with atomic_file(out) as temporary, temporary.open("wb") as file:
        for row, conversation in enumerate(read_conversations(path, reading, 1.0)):
            if row >= report.conversations:
                break
            ledger.read()
            if row in left_out:
                ledger.drop(left_out[row], where=conversation.id)
            else:
                ledger.keep()
                fixed = openai_row(conversation)
                if pii and (masked := mask_row(fixed)) != fixed:
                    fixed = masked
                    ledger.note("personal data replaced", where=conversation.id)
                file.write(to_json(fixed, indent=None, sort=False) + b"\n")
        if row + 1 != report.conversations:
            raise ValueError(f"{path} has changed since it was audited; run the audit again")
    for reason_read, entry in reading.dropped.items():
        ledger.read(entry.rows)
        ledger.drop(reason_read, entry.rows)
        ledger.dropped[reason_read].examples = entry.examples
    ledger.check()
    ledger_path = out.with_name(f"{out.name}.ledger.json")
    write_json(ledger_path, ledger.to_dict())
    return FixedFile(out, ledger_path, ledger)


def openai_row(conversation: Conversation) -> dict[str, Any]:
    """A conversation as a row of OpenAI messages; reading it gives the same conversation."""
    row: dict[str, Any] = {"messages": [row for message in conversation.messages for row in _openai_messages(message)]}
    if conversation.tools:
        row["tools"] = [msgspec.json.decode(tool) for tool in conversation.tools]
    if conversation.template_settings:
        row["chat_template_kwargs"] = msgspec.json.decode(conversation.template_settings)
    return row


def _openai_messages(message: Message) -> list[dict[str, Any]]:
    if message.role == "tool":
        return [_result(part) for part in message.content if isinstance(part, Text | ToolResult)]
    row: dict[str, Any] = {"role": message.role}
    row |= {"name": message.name} if message.name else {}
    row |= {} if message.trained else {"weight": 0}
    kinds = Counter(type(part) for part in message.content)
    order = [(Reasoning, Text, ToolCall).index(type(part)) for part in message.content]
    if kinds[Reasoning] > 1 or kinds[Text] > 1 or order != sorted(order):
        return [row | {"content": [_part(part) for part in message.content]}]
    row["content"] = message.text
    for part in message.content:
        if isinstance(part, Reasoning):
            row["reasoning_content"] = part.text
    calls = [part for part in message.content if isinstance(part, ToolCall)]
    if calls:
        row["tool_calls"] = [
            _id(call) | {"type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in calls
        ]
    return [row]


def _id(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id} if call.id else {}


def _result(part: Text | ToolResult) -> dict[str, Any]:
    named = {"tool_call_id": part.call_id} if isinstance(part, ToolResult) and part.call_id else {}
    return {"role": "tool", "content": part.text, **named}


def _part(part: object) -> dict[str, str]:
    """A part of a message whose parts are in an order that plain fields cannot express."""
    if isinstance(part, ToolCall):
        call = {"name": part.name, "arguments": part.arguments, **_id(part)}
        return {"type": "tool_call", "text": msgspec.json.encode(call).decode()}
    assert isinstance(part, Text | Reasoning)
    return {"type": "text" if isinstance(part, Text) else "thinking", "text": part.text}
