from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.chat.audit import audit_file, fix_file
from tutelage.chat.audit.fix import openai_row
from tutelage.chat.formats import read_conversations
from tutelage.chat.formats.reading import _conversations
from tutelage.chat.formats.turns import NOT_TRAINED
from tutelage.ledger import Ledger
from tutelage.records import Conversation, Message, Part, Reasoning, Text, ToolCall, ToolResult, message

Write = Callable[..., Path]

CLEAN = [
    (f"What is the square of {n} when it is added to itself?", f"It is {2 * n * n}, for {n} is counted twice.")
    for n in range(30)
]
TEXT = st.text(alphabet='abc é\n."{}', min_size=1, max_size=12).filter(lambda text: text.strip())
TOOL = '{"type":"function","function":{"name":"find","parameters":{}}}'


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    turns = [message("system", draw(TEXT))] if draw(st.booleans()) else []
    for number in range(draw(st.integers(1, 2))):
        turns.append(Message("user", (Text(draw(TEXT)),), name=draw(st.sampled_from(["", "Ann"]))))
        parts: list[Part] = [Reasoning(draw(TEXT))] if draw(st.booleans()) else []
        if draw(st.booleans()):
            call = ToolCall("find", json.dumps({"q": draw(TEXT)}), draw(st.sampled_from(["", f"call{number}"])))
            turns += [Message("assistant", (*parts, call)), Message("tool", (ToolResult(draw(TEXT), call.id),))]
            parts = []
        turns.append(Message("assistant", (*parts, Text(draw(TEXT))), trained=draw(st.booleans())))
    turns[-1] = replace(turns[-1], trained=True)
    settings = draw(st.sampled_from(["", '{"enable_thinking":false}']))
    return Conversation(tuple(turns), "chat", tools=(TOOL,), template_settings=settings)


@given(conversations())
def test_written_conversations_are_read_back_unchanged(conversation: Conversation) -> None:
    row = json.loads(json.dumps(openai_row(conversation)))
    (again,), notes = _conversations(row, "messages", "chat")
    assert again == conversation
    assert set(notes) <= {NOT_TRAINED}


def test_parts_in_any_order_survive() -> None:
    parts = (ToolCall("find", '{"q":1}'), Text("found it"), Reasoning("so"), Text("here"))
    conversation = Conversation((message("user", "where?"), Message("assistant", parts)), "chat")
    (again,), _ = _conversations(openai_row(conversation), "messages", "chat")
    assert again == conversation


def test_every_row_is_kept_or_dropped_and_the_file_is_not_changed(write: Write, tmp_path: Path) -> None:
    path = write([*CLEAN, CLEAN[2], "{", ("And why?", "..."), ("Who?", "I'm sorry, but I can't help with that.")])
    before = path.read_bytes()
    fixed = fix_file(audit_file(path), tmp_path / "clean.jsonl")
    assert path.read_bytes() == before
    assert fixed.ledger.rows_read == 34
    assert fixed.ledger.rows_kept == 31  # refusals may be wanted
    assert {reason: (e.rows, e.examples[0].split(": ")[0]) for reason, e in fixed.ledger.dropped.items()} == {
        "duplicate": (1, "chats.jsonl:31"),
        "placeholder answer": (1, "chats.jsonl:33"),
        "not JSON": (1, "chats.jsonl:32"),
    }
    assert Ledger.from_dict(json.loads(fixed.ledger_path.read_bytes())) == fixed.ledger
    rows = list(read_conversations(fixed.path, Ledger("clean")))
    assert [row.messages for row in rows[:30]] == [
        row.messages for row in list(read_conversations(path, Ledger("all"), 1))[:30]
    ]
    again = audit_file(fixed.path)
    assert [finding.name for finding in again.findings] == ["refusal"]


def test_personal_data_is_replaced_where_asked(write: Write, tmp_path: Path) -> None:
    question = "My name is Jürgen Öztürk, jörg@müller.de, call 030 901820 or +49 30 901820. Is me@example.com mine?"
    path = write([*CLEAN, (question, "Dear Herr Öztürk, no: 2001:4860:4860::8888 is a server.")])
    plain = fix_file(audit_file(path), tmp_path / "plain.jsonl")
    assert question in plain.path.read_text() and not plain.ledger.noted
    fixed = fix_file(audit_file(path), tmp_path / "clean.jsonl", pii=True)
    assert (fixed.ledger.rows_kept, fixed.ledger.noted["personal data replaced"].rows) == (len(CLEAN) + 1, 1)
    *same, last = fixed.path.read_text().splitlines()
    assert same == plain.path.read_text().splitlines()[:-1]
    asked, answered = (message["content"] for message in json.loads(last)["messages"])
    assert asked == ("My name is PERSON, email@example.com, call 555-555-0100 or 555-555-0100. Is me@example.com mine?")
    assert answered == "Dear Herr PERSON, no: 2001:db8::1 is a server."
    assert "personal data" not in [finding.name for finding in audit_file(fixed.path).findings]


def test_unsafe_outputs_are_refused(write: Write, tmp_path: Path) -> None:
    path = write([*CLEAN, CLEAN[2]])
    report = audit_file(path)
    with pytest.raises(ValueError, match="is the audited file"):
        fix_file(report, path)
    write([*CLEAN, CLEAN[2], CLEAN[3]])
    with pytest.raises(ValueError, match="has changed since it was audited"):
        fix_file(report, tmp_path / "clean.jsonl")
    assert not (tmp_path / "clean.jsonl").exists()
    nothing_good = write([("Why?", "...")] * 3, "bad.jsonl")
    with pytest.raises(ValueError, match="none would be left"):
        fix_file(audit_file(nothing_good), tmp_path / "clean.jsonl")
