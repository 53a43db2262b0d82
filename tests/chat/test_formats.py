from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.chat.formats import LONGEST_ROW, BrokenRow, detect, read_conversations, read_prompts
from tutelage.files import DiskError
from tutelage.ledger import Ledger
from tutelage.records import Conversation, Message, Reasoning, Role, ToolCall, ToolResult, message

PAIR = {"prompt": "Who is Ada?", "completion": "A mathematician."}
TALK = {"messages": [{"role": "user", "content": "Who is Ada?"}, {"role": "assistant", "content": "A mathematician."}]}
ANSWERED = (message("user", "Who is Ada?"), message("assistant", "A mathematician."))

WORDS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1).filter(str.strip)


def written(folder: Path, *rows: object, name: str = "chat.jsonl") -> Path:
    """A file of these rows: bytes and strings as they are, all else as JSON."""
    lines = [row if isinstance(row, bytes) else row.encode() if isinstance(row, str) else to_json(row) for row in rows]
    (folder / name).write_bytes(b"".join(line + b"\n" for line in lines))
    return folder / name


def to_json(row: object) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode()


def read(path: Path, max_broken: float = 1.0) -> tuple[list[Conversation], Ledger]:
    ledger = Ledger("chat")
    conversations = list(read_conversations(path, ledger, max_broken))
    ledger.check()
    assert ledger.rows_kept == len(conversations)
    return conversations, ledger


def talk(*messages: tuple[str, object], **more: object) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in messages], **more}


def call(arguments: object) -> dict[str, Any]:
    return {"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}}


def test_the_messages_layout_with_all_it_can_say(tmp_path: Path) -> None:
    calls = [call('{"query":  "Ada"}'), call({"query": "Byron"})]
    row = {
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Who is "}, {"type": "text", "text": "Ada?"}]},
            {"role": "assistant", "content": None, "reasoning_content": "Look it up.", "tool_calls": calls},
            {"role": "tool", "tool_call_id": "1", "content": "A mathematician."},
            {"role": "assistant", "content": "A mathematician.", "weight": 1},
        ]
    }
    (conversation,), _ = read(written(tmp_path, row))
    assert conversation == Conversation(
        (
            message("system", "Be brief."),
            message("user", "Who is Ada?"),
            Message(
                "assistant",
                (
                    Reasoning("Look it up."),
                    ToolCall("f", '{"query":  "Ada"}'),
                    ToolCall("f", '{"query":"Byron"}'),
                ),
            ),
            Message("tool", (ToolResult("A mathematician."),)),
            message("assistant", "A mathematician."),
        ),
        "chat.jsonl:1",
    )


def test_an_empty_system_message_stands_for_none(tmp_path: Path) -> None:
    row = talk(("system", ""), ("user", "Who is Ada?"), ("assistant", "A mathematician."))
    assert read(written(tmp_path, row))[0][0].messages == ANSWERED


@pytest.mark.parametrize(
    "row",
    [
        PAIR,
        {"instruction": "Who is Ada?", "input": "", "output": "A mathematician.", "text": "Below is an instruction"},
        {"instruction": "Who is Ada?", "context": None, "response": "A mathematician.", "category": "open_qa"},
        {"prompt": "Who is Ada?", "response": "A mathematician.", "history": [], "system": ""},
        {**TALK, "prompt": "Who is Ada?", "response": "unread, for the row has messages"},
    ],
)
def test_one_question_and_its_answer(row: dict[str, Any], tmp_path: Path) -> None:
    assert read(written(tmp_path, row))[0][0].messages == ANSWERED


def test_an_input_follows_its_instruction_and_a_system_message_opens(tmp_path: Path) -> None:
    row = {"instruction": "Translate.", "input": "bonjour", "output": "good day", "system": "Be brief."}
    (conversation,), _ = read(written(tmp_path, row))
    assert [(m.role, m.text) for m in conversation.messages] == [
        ("system", "Be brief."),
        ("user", "Translate.\n\nbonjour"),
        ("assistant", "good day"),
    ]


TURNS = st.lists(st.tuples(st.sampled_from(("user", "assistant", "system")), WORDS), max_size=4)


@given(st.lists(TURNS, min_size=1, max_size=4), st.booleans(), st.booleans())
def test_every_character_arrives(
    tmp_path_factory: pytest.TempPathFactory, talks: list[list[tuple[Role, str]]], escaped: bool, windows: bool
) -> None:
    talks = [[("user", "Hi"), ("assistant", "Hello"), *turns] for turns in talks]
    rows = [json.dumps(talk(*turns), ensure_ascii=escaped) + "\r" * windows for turns in talks]
    conversations, _ = read(written(tmp_path_factory.mktemp("formats"), *rows))
    assert [[(m.role, m.text) for m in c.messages] for c in conversations] == talks


BROKEN: list[tuple[object, str]] = [
    ("{", "not JSON (Input data was truncated)"),
    ("prompt,completion", "not JSON (JSON is malformed: invalid character (byte 0))"),
    ('{"prompt": "\\ud800", "completion": "half"}', "not JSON (JSON is malformed: unexpected end of escaped"),
    ("[" * 100_000, "not JSON (nested too deep)"),
    ("[", "not a JSON object (a list over several lines; write one object a line)"),
    ([PAIR], "not a JSON object (write one object a line)"),
    (b'{"prompt": "\xff"}', "invalid UTF-8 (byte 12)"),
    ({"text": "Ada", "id": 3}, "no known format (its fields: 'text', 'id'; known: 'messages', or 'prompt' and"),
    ({}, "no known format (its fields: none; known"),
    ({"prompt": 3, "completion": "x"}, "field that is not text ('prompt')"),
    ({**PAIR, "response": "A poet."}, "ambiguous fields ('completion' and 'response' mean the same; leave one out)"),
    ({**PAIR, "history": [["Hi", "Hello"]]}, "earlier turns in 'history' (write the whole conversation as 'messages')"),
    ({**PAIR, "completion": None}, "a message that cannot be learned from (message 1: the assistant answers nothing"),
    ({**PAIR, "prompt": " "}, "a message that cannot be learned from (message 0: a user message without content"),
    ({"messages": "Hi"}, "malformed message ('messages' is not a list)"),
    (talk(), "empty conversation"),
    (talk(("user", "Hi")), "one-sided conversation (no message of the assistant)"),
    (talk(("system", "Hi"), ("assistant", "Hello")), "one-sided conversation (no message of the user)"),
    (talk(("user", "Hi"), ("bot", "Hello")), "unknown role (message 1: 'bot' is none of system, developer, user"),
    (talk(("user", [{"type": "image_url"}])), "malformed message (message 0: Invalid value 'image_url' - at"),
    (talk(("user", 3)), "malformed message (message 0: Expected"),
    ({"messages": ["Hi"]}, "malformed message (message 0: Expected `object`, got `str`)"),
    (
        {"messages": [*TALK["messages"], {"role": "assistant", "function_call": {"name": "search"}}]},
        "malformed message (message 2: Expected `null`, got `object` - at `$.function_call`)",
    ),
    (
        {"messages": [*TALK["messages"], {"role": "assistant", "content": "Hm", "weight": 0}]},
        "weighted message (message 2: all are learned from; remove the weight, or the row)",
    ),
    (
        {"messages": [*TALK["messages"], {"role": "user", "tool_calls": [call("{}")]}]},
        "a message that cannot be learned from (message 2: ToolCall cannot stand in a user message",
    ),
    (
        {"messages": [TALK["messages"][0], {"role": "assistant", "tool_calls": [call('{"a":' + "[" * 100_000)]}]},
        "a message that cannot be learned from (a tool call nested too deep)",
    ),
    (
        {"messages": [TALK["messages"][0], {"role": "assistant", "tool_calls": [call("Ada")]}]},
        "a message that cannot be learned from (message 1: the arguments of the call to 'f' are not a JSON object",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("row", "reason"), BROKEN, ids=[reason for _, reason in BROKEN])
def test_a_broken_row_is_dropped_with_its_place_and_reason(row: object, reason: str, tmp_path: Path) -> None:
    conversations, ledger = read(written(tmp_path, row))
    assert conversations == []
    ((name, entry),) = ledger.dropped.items()
    assert entry.rows == 1
    assert entry.examples[0].startswith(f"chat.jsonl:1: {reason}")
    assert reason.startswith(name)
    assert len(entry.examples[0]) < 300


def test_the_first_row_of_a_known_format_decides(tmp_path: Path) -> None:
    conversations, ledger = read(written(tmp_path, {"version": 2}, TALK, PAIR, TALK))
    assert [conversation.id for conversation in conversations] == ["chat.jsonl:2", "chat.jsonl:4"]
    assert ledger.dropped["no known format"].rows == 1
    assert ledger.dropped["another format than the first row's"].examples == [
        "chat.jsonl:3: another format than the first row's (which is 'messages')"
    ]
    assert detect(PAIR) == "prompt-completion"
    assert detect(TALK) == "messages"
    with pytest.raises(BrokenRow, match="no known format"):
        detect({"prompt": "Who is Ada?", "chosen": "A mathematician.", "rejected": "Nobody."})


@given(st.lists(st.sampled_from(("good", "broken", "blank")), min_size=1, max_size=60), st.integers(0, 100))
def test_only_too_many_broken_rows_are_fatal(
    tmp_path_factory: pytest.TempPathFactory, kinds: list[str], percent: int
) -> None:
    lines = {"good": to_json(PAIR), "broken": b"{", "blank": b" "}
    path = written(tmp_path_factory.mktemp("formats"), *(lines[kind] for kind in kinds))
    ledger, ids = Ledger("chat"), []
    rows, broken = len(kinds) - kinds.count("blank"), kinds.count("broken")
    try:
        ids.extend(conversation.id for conversation in read_conversations(path, ledger, percent / 100))
        assert rows
        assert broken * 100 <= percent * rows
    except ValueError:
        assert not rows or broken * 100 > percent * rows
    ledger.check()
    assert ledger.rows_read == len(kinds)
    assert ids == [f"chat.jsonl:{i}" for i, kind in enumerate(kinds, 1) if kind == "good"]
    assert {reason: entry.rows for reason, entry in ledger.dropped.items()} == {
        reason: count for reason, count in (("not JSON", broken), ("blank line", kinds.count("blank"))) if count
    }


def test_what_is_fatal_says_where_and_what_to_do(tmp_path: Path) -> None:
    path = written(tmp_path, PAIR, "{", *[PAIR] * 3, "{", "{", "{")
    with pytest.raises(ValueError, match="rows are broken") as error:
        read(path, max_broken=0.01)
    broken = "; ".join(f"chat.jsonl:{line}: not JSON (Input data was truncated)" for line in (2, 6, 7))
    assert str(error.value) == (
        f"{path}: 4 of 8 rows are broken, more than max_broken = 0.01 allows: {broken}; "
        "mend the lines, or raise max_broken to leave them out"
    )


def test_a_file_of_another_kind_is_refused_early(tmp_path: Path) -> None:
    path = written(tmp_path, *["a line of prose"] * 100, *[PAIR] * 100)
    ledger = Ledger("chat")
    with pytest.raises(ValueError, match="the first 100 rows are all broken: chat.jsonl:1: not JSON"):
        next(read_conversations(path, ledger, 1.0))
    assert ledger.rows_read == 100
    good, _ = read(written(tmp_path, *["a line of prose"] * 99, *[PAIR] * 100))
    assert len(good) == 100


def test_a_gzipped_file_is_read_whatever_its_name(tmp_path: Path) -> None:
    plain = b"\xef\xbb\xbf" + to_json(PAIR) + b"\n\n" + to_json(PAIR)
    small = gzip.compress(plain)
    for name, content in (("chat.jsonl", plain), ("chat.jsonl.gz", small), ("small", small)):
        (tmp_path / name).write_bytes(content)
        conversations, ledger = read(tmp_path / name, 0)
        assert [c.id for c in conversations] == [f"{name}:1", f"{name}:3"]
        assert ledger.dropped["blank line"].rows == 1


@pytest.mark.parametrize("damage", [lambda data: data[:-12], lambda data: data[:40] + b"\0" * 40 + data[80:]])
def test_a_damaged_gzipped_file_is_refused(damage: Any, tmp_path: Path) -> None:
    rows = b"".join(to_json({**PAIR, "completion": f"{number * 7919}"}) + b"\n" for number in range(200))
    (tmp_path / "chat.jsonl.gz").write_bytes(damage(gzip.compress(rows)))
    with pytest.raises(ValueError, match=r"chat.jsonl.gz is damaged after line \d+ \(.+\); fetch or compress it again"):
        read(tmp_path / "chat.jsonl.gz")


def test_a_row_too_long_is_dropped_without_being_held(tmp_path: Path) -> None:
    path = written(tmp_path, PAIR)
    with path.open("r+b") as file:
        file.seek(LONGEST_ROW * 3)  # a hole in the file, which takes no room on the disk and reads as zeros
        file.write(b"\n" + to_json(PAIR))
    tracemalloc.start()
    conversations, ledger = read(path)
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [conversation.id for conversation in conversations] == ["chat.jsonl:1", "chat.jsonl:3"]
    assert ledger.dropped["longer than 64 MiB"].examples == ["chat.jsonl:2: longer than 64 MiB"]
    assert held < LONGEST_ROW * 2.5


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, *[{**PAIR, "completion": "word " * 400}, "{"] * 2000)
    tracemalloc.start()
    count = sum(1 for _ in read_conversations(path, Ledger("chat"), 0.5))
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 2000
    assert held < path.stat().st_size / 10


def test_a_wrong_path_is_told_at_once(tmp_path: Path) -> None:
    for reads in (lambda path: read_conversations(path, Ledger("chat")), read_prompts):
        with pytest.raises(DiskError, match="cannot read .*none.jsonl: no such file or directory; check the path"):
            reads(tmp_path / "none.jsonl")
        with pytest.raises(ValueError, match="is a folder; name a file in it"):
            reads(tmp_path)
    with pytest.raises(ValueError, match="max_broken is a share of rows from 0 to 1, not 5"):
        read_conversations(written(tmp_path, PAIR), Ledger("chat"), 5)


@pytest.mark.parametrize("rows", [(), ("", " ")])
def test_a_file_without_rows_is_refused(rows: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="chat.jsonl has no rows; write one"):
        read(written(tmp_path, *rows))
    with pytest.raises(ValueError, match="chat.jsonl has no rows; write one"):
        read_prompts(tmp_path / "chat.jsonl")


def test_prompts_come_by_set(tmp_path: Path) -> None:
    rows = [{"set": "near", "prompt": "One?"}, {"set": "far", "prompt": "Two?"}, "", {"set": "near", "prompt": "3?"}]
    sets = read_prompts(written(tmp_path, *rows))
    assert sets == {
        "near": [
            Conversation((message("user", "One?"),), "chat.jsonl:1"),
            Conversation((message("user", "3?"),), "chat.jsonl:4"),
        ],
        "far": [Conversation((message("user", "Two?"),), "chat.jsonl:2")],
    }


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("{", "not JSON"),
        ({"prompt": "Hi"}, "Object missing required field `set`"),
        ({"set": "near", "prompt": 3}, "Expected `str`, got `int`"),
        ({"set": "near", "prompt": "Hi", "anwser": "Hello"}, "Object contains unknown field `anwser`"),
        ({"set": "near", "prompt": " "}, "an empty set or prompt; fill it or remove the line"),
    ],
)
def test_any_broken_row_of_prompts_is_an_error(row: object, problem: str, tmp_path: Path) -> None:
    path = written(tmp_path, {"set": "near", "prompt": "Hello"}, row)
    with pytest.raises(ValueError, match="chat.jsonl:2") as error:
        read_prompts(path)
    assert str(error.value).startswith(f"{path}:2: {problem}")
