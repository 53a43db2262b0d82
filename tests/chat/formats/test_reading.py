from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.chat.formats import (
    FORMATS,
    PREFERENCE_FORMATS,
    detect,
    find_format,
    read_conversations,
    read_preferences,
    read_prompts,
)
from tutelage.files import DiskError
from tutelage.io.row import BrokenRow
from tutelage.ledger import Ledger
from tutelage.records import Conversation, Preference, UnpairedPreference, message

Write = Callable[..., Path]
Read = Callable[..., tuple[list[Conversation], Ledger]]

PAIR = {"prompt": "Who is Ada?", "completion": "A mathematician."}
TALK = {"messages": [{"role": "user", "content": "Who is Ada?"}, {"role": "assistant", "content": "A mathematician."}]}
ANSWERED = (message("user", "Who is Ada?"), message("assistant", "A mathematician."))
TOOL = {"type": "function", "function": {"name": "search"}}
RANKED = {"prompt": "Who is Ada?", "chosen": "A mathematician.", "rejected": "Nobody."}

WORDS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1).filter(str.strip)


@given(st.lists(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=3), min_size=1, max_size=4), st.booleans())
def test_every_character_arrives(
    tmp_path_factory: pytest.TempPathFactory, read: Read, talks: list[list[tuple[str, str]]], escaped: bool
) -> None:
    """In any layout of the file; `<think>` at the head of an answer would be read as reasoning."""
    talks = [[(asked, f"{answer}.") for asked, answer in talk] for talk in talks if "<think>" not in str(talk)]
    turns = [
        [
            {"role": role, "content": text}
            for pair in talk
            for role, text in zip(("user", "assistant"), pair, strict=True)
        ]
        for talk in talks
    ]
    rows = [{"messages": talk} for talk in turns]
    path = tmp_path_factory.mktemp("formats") / "chat"
    lines = "\r\n".join(json.dumps(row, ensure_ascii=escaped) for row in rows)
    for content in (lines, json.dumps(rows, ensure_ascii=escaped)) if rows else ():
        path.write_text(content, encoding="utf-8", newline="")
        conversations, _ = read(path)
        assert [[{"role": m.role, "content": m.text} for m in c.messages] for c in conversations] == turns


def test_a_conversation_has_its_place_and_its_tools(write: Write, read: Read) -> None:
    row = {**TALK, "tools": [TOOL]}
    for path, place in ((write(row), "chat.jsonl:1"), (write([row], name="chat.json"), "chat.json#1")):
        (conversation,), _ = read(path)
        assert conversation == Conversation(
            ANSWERED, place, tools=('{"type":"function","function":{"name":"search"}}',)
        )


BROKEN: list[tuple[object, str]] = [
    ("{", "not JSON (the line ends before its object does; write each object in one line)"),
    ("prompt,completion", "not JSON (JSON is malformed: invalid character (byte 0))"),
    ('{"prompt": "\\ud800", "completion": "half"}', "not JSON (JSON is malformed: unexpected end of escaped"),
    ('{"a":' + "[" * 100_000, "not JSON (nested too deep)"),
    ('"Who is Ada?"', "not a JSON object (a row must be {...})"),
    (b'{"prompt": "\xff"}', "invalid UTF-8 (byte 12)"),
    ({"text": "Ada", "id": 3}, "no known format (its fields: 'text', 'id'; known: messages, sharegpt, "),
    ({}, "no known format (its fields: none; known"),
    (RANKED, "no known format (these are preferences, not conversations)"),
    (
        {"message_id": "1", "parent_id": "0", "text": "Hi", "role": "prompter"},
        "no known format (one message of a tree;",
    ),
    ({**PAIR, "completion": None}, "no known format"),
    ({**PAIR, "completion": ""}, "a message that cannot be learned from (message 1: the assistant answers nothing"),
    ({"messages": []}, "empty conversation"),
    ({"messages": TALK["messages"][:1]}, "one-sided conversation (no message of the assistant)"),
    ({"messages": TALK["messages"] * 2 + TALK["messages"][1:]}, "two assistant turns in a row (messages 3 and 4;"),
    ({**PAIR, "images": ["a.png"]}, "multimodal row ('images'; only text is supported)"),
    ({**TALK, "label": False}, "an answer with a label (its label says whether it is good, but all would be trained"),
    (
        {
            "messages": [
                TALK["messages"][0],
                {
                    "role": "assistant",
                    "tool_calls": [{"function": {"name": "f", "arguments": '{"a":' + "[" * 100_000}}],
                },
            ]
        },
        "nested too deep",
    ),
]


@pytest.mark.parametrize(("row", "reason"), BROKEN, ids=[reason for _, reason in BROKEN])
def test_a_broken_row_is_dropped_with_its_place_and_reason(row: object, reason: str, write: Write, read: Read) -> None:
    conversations, ledger = read(write(row))
    assert conversations == []
    ((name, entry),) = ledger.dropped.items()
    assert entry.rows == 1
    assert entry.examples[0].startswith(f"chat.jsonl:1: {reason}")
    assert reason.startswith(name)
    assert len(entry.examples[0]) < 300


def test_corrected_rows_are_kept_and_noted(write: Write, read: Read) -> None:
    asked, answered = TALK["messages"]
    path = write(
        {"messages": [asked, answered, asked]},
        {"messages": [asked, {**answered, "content": "<think>Hm.</think>A mathematician."}, asked]},
        TALK,
    )
    conversations, ledger = read(path)
    assert [len(conversation.messages) for conversation in conversations] == [2, 2, 2]
    assert {what: (note.rows, note.examples) for what, note in ledger.noted.items()} == {
        "turns after the last answer, cut off": (2, ["chat.jsonl:1", "chat.jsonl:2"]),
        "reasoning in <think> tags": (1, ["chat.jsonl:2"]),
    }


def test_a_row_that_is_several_conversations_lends_them_its_place(write: Write, read: Read) -> None:
    row = {"instruction": "Add.", "instances": [{"input": f"1 {n}", "output": f"{1 + n}"} for n in range(3)]}
    conversations, ledger = read(write(row, row))
    assert [c.id for c in conversations] == ["chat.jsonl:1"] * 3 + ["chat.jsonl:2"] * 3
    assert (ledger.rows_kept, ledger.rows_out) == (2, 6)


def test_the_first_row_of_a_known_format_decides(write: Write, read: Read) -> None:
    path = write({"version": 2}, TALK, PAIR, TALK)
    conversations, ledger = read(path)
    assert [conversation.id for conversation in conversations] == ["chat.jsonl:2", "chat.jsonl:4"]
    assert ledger.dropped["no known format"].rows == 1
    assert ledger.dropped["another format than the file's"].examples == [
        "chat.jsonl:3: another format than the file's (which is 'messages'; its fields: 'prompt', 'completion')"
    ]
    assert find_format(path) == "messages"
    assert detect(PAIR) == "prompt-completion"
    with pytest.raises(BrokenRow, match="no known format"):
        detect(RANKED)


def test_a_format_that_is_named_is_read(write: Write, read: Read) -> None:
    path = write({**TALK, **PAIR, "completion": "Another."}, TALK)
    conversations, ledger = read(path, format="prompt-completion")
    assert [conversation.messages[1].text for conversation in conversations] == ["Another."]
    assert ledger.dropped["another format than the file's"].rows == 1
    with pytest.raises(ValueError, match="^there is no format 'sharegtp'; did you mean 'sharegpt'\\?$"):
        read_conversations(path, Ledger("chat"), format="sharegtp")


def test_the_format_of_a_file_is_found_by_looking(write: Write) -> None:
    assert find_format(write("", {"version": 2}, PAIR)) == "prompt-completion"
    with pytest.raises(ValueError, match="chat.jsonl has no row in a known format: chat.jsonl:1: no known format"):
        find_format(write({"version": 2}))
    with pytest.raises(ValueError, match="chat.jsonl has no row in a known format$"):
        find_format(write())
    with pytest.raises(ValueError, match="has no row in a known format: chat.jsonl:1: not JSON"):
        find_format(write(*["prose"] * 100, PAIR))


@given(st.lists(st.sampled_from(("good", "broken", "blank")), min_size=1, max_size=60), st.integers(0, 100))
def test_only_too_many_broken_rows_are_fatal(
    tmp_path_factory: pytest.TempPathFactory, kinds: list[str], percent: int
) -> None:
    lines = {"good": json.dumps(PAIR), "broken": "{", "blank": " "}
    path = tmp_path_factory.mktemp("formats") / "chat.jsonl"
    path.write_text("".join(lines[kind] + "\n" for kind in kinds))
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


def test_fatal_errors_say_where_and_what_to_do(write: Write, read: Read) -> None:
    path = write(PAIR, "{", *[PAIR] * 3, "{", "{", "{")
    with pytest.raises(ValueError, match="rows are broken") as error:
        read(path, max_broken=0.01)
    broken = "; ".join(
        f"chat.jsonl:{line}: not JSON (the line ends before its object does; write each object in one line)"
        for line in (2, 6, 7)
    )
    assert str(error.value) == (
        f"{path}: 4 of 8 rows are broken, more than max_broken = 0.01 allows: {broken}; "
        "correct the rows, or raise max_broken (--max-broken) to leave them out"
    )


def test_a_file_of_another_kind_is_refused_early(write: Write, read: Read) -> None:
    path = write(*["a line of prose"] * 100, *[PAIR] * 100)
    ledger = Ledger("chat")
    with pytest.raises(ValueError, match="the first 100 rows are all broken: chat.jsonl:1: not JSON"):
        next(read_conversations(path, ledger, 1.0))
    assert ledger.rows_read == 100
    good, _ = read(write(*["a line of prose"] * 99, *[PAIR] * 100))
    assert len(good) == 100


@pytest.mark.parametrize(
    ("name", "content"), [("a.txt", b"Once upon a time\nthere was\n"), ("a.xlsx", b"PK\x03\x04\xff")]
)
def test_a_file_of_another_kind_lists_what_is_supported(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    named = "; supported are JSON lines, a JSON list, Parquet or CSV, plain or compressed, such as"
    with pytest.raises(ValueError, match=re.escape(named)):
        find_format(tmp_path / name)
    with pytest.raises(ValueError, match=re.escape(named)):
        list(read_conversations(tmp_path / name, Ledger("chat"), 0.0))
    (tmp_path / "pages.jsonl").write_text(
        '{"text": "a page"}\n'
    )  # JSON: another kind of rows, not another kind of file
    with pytest.raises(ValueError, match="known: ") as caught:
        find_format(tmp_path / "pages.jsonl")
    assert named not in str(caught.value)


def test_a_file_of_a_folder_that_is_empty_is_counted_and_the_rest_is_read(
    write: Write, read: Read, tmp_path: Path
) -> None:
    write(name="a.jsonl")
    write("", "", name="b.jsonl")
    with pytest.raises(ValueError, match=f"^{tmp_path} has no rows; write one conversation per line"):
        read(tmp_path, 0)
    write(PAIR, name="c.jsonl")
    conversations, ledger = read(tmp_path, 0)
    assert [conversation.id for conversation in conversations] == ["c.jsonl:1"]
    assert (ledger.noted["file without rows"].rows, ledger.noted["file without rows"].examples) == (
        2,
        ["a.jsonl", "b.jsonl"],
    )
    assert find_format(tmp_path) == "prompt-completion"


def test_a_folder_is_read_file_by_file_each_in_its_own_format(write: Write, read: Read, tmp_path: Path) -> None:
    write(TALK, name="b.jsonl")
    write("not read", name="README.md")
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(json.dumps([PAIR, PAIR]).encode()))
    for path in (tmp_path, tmp_path / "*.json*"):
        conversations, _ = read(path, 0)
        assert [c.id for c in conversations] == ["a.json.gz#1", "a.json.gz#2", "b.jsonl:1"]
        assert {c.messages for c in conversations} == {ANSWERED}


def test_a_wrong_path_is_an_error_at_once(tmp_path: Path, write: Write) -> None:
    reads: list[Callable[[Path], Any]] = [
        lambda path: read_conversations(path, Ledger("chat")),
        lambda path: read_preferences(path, Ledger("chat")),
        read_prompts,
    ]
    for read_file in reads:
        with pytest.raises(DiskError, match="cannot read .*none.jsonl: no such file or directory; check the path"):
            read_file(tmp_path / "none.jsonl")
        with pytest.raises(ValueError, match="is a folder without a file of rows"):
            read_file(tmp_path)
    with pytest.raises(ValueError, match="max_broken is a share of rows from 0 to 1, not 5"):
        read_conversations(write(PAIR), Ledger("chat"), 5)


@pytest.mark.parametrize("rows", [(), ("", " "), ("[]",)])
def test_a_file_without_rows_is_refused(rows: tuple[str, ...], write: Write, read: Read) -> None:
    with pytest.raises(ValueError, match="chat.jsonl has no rows; write one"):
        read(write(*rows))
    with pytest.raises(ValueError, match="chat.jsonl has no rows; write one"):
        read_prompts(write(*rows))


def test_preferences_come_in_pairs_or_with_a_label(write: Write) -> None:
    ledger = Ledger("preferences")
    (pair,) = read_preferences(write({**RANKED, "tools": [TOOL]}, {**RANKED, "chosen": "Nobody."}), ledger, 0.5)
    assert isinstance(pair, Preference)
    assert (pair.prompt, pair.chosen, pair.id) == (ANSWERED[:1], ANSWERED[1:], "chat.jsonl:1")
    assert [json.loads(tool) for tool in pair.tools] == [TOOL]
    assert ledger.dropped["chosen and rejected are the same"].rows == 1
    (judged,) = read_preferences(write({**TALK, "label": True}), ledger)
    assert isinstance(judged, UnpairedPreference)
    assert (judged.prompt, judged.completion, judged.desirable) == (ANSWERED[:1], ANSWERED[1:], True)
    ledger.check()
    with pytest.raises(ValueError, match="no known format \\(these are conversations, not preferences\\)"):
        list(read_preferences(write(PAIR), ledger))
    with pytest.raises(ValueError, match="there is no format 'messages'"):
        read_preferences(write(RANKED), ledger, format="messages")


def test_prompts_come_by_set(write: Write) -> None:
    rows = [{"set": "near", "prompt": "One?"}, {"set": "far", "prompt": "Two?"}, "", {"set": "near", "prompt": "3?"}]
    assert read_prompts(write(*rows)) == {
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
def test_any_broken_row_of_prompts_is_an_error(row: object, problem: str, write: Write) -> None:
    path = write({"set": "near", "prompt": "Hello"}, row)
    with pytest.raises(ValueError, match="chat.jsonl:2") as error:
        read_prompts(path)
    assert str(error.value).startswith(f"{path}:2: {problem}")


def test_no_format_recognises_an_empty_row() -> None:
    assert not any(format_.recognises({}) for format_ in FORMATS.values())


# Rows with all that any format knows. A part of one of them, at any depth, is replaced by something strange.
CALLS = [{"function": {"name": "f", "arguments": {"a": 1}}}]
PARTS = [{"type": "text", "text": "Hi"}, {"type": "reasoning", "value": "Hm"}, {"type": "tool_call", "value": "[]"}]
TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": PARTS[:1]},
    {"role": "assistant", "content": PARTS, "tool_calls": CALLS, "reasoning_content": None, "weight": 1},
    {"role": "tool", "content": "3"},
    {"from": "gpt", "value": "Hello"},
]
NODE = {"text": "Hi", "role": "prompter", "rank": 0, "deleted": False, "replies": []}
FRAMES = [{"service_call": {"method": "f", "parameters": {"a": 1}}, "service_results": [{"b": 2}]}]
ROWS: list[dict[str, Any]] = [
    {"messages": TURNS, "tools": [TOOL], "label": True},
    {
        "conversations": TURNS[1:],
        "tools": json.dumps([TOOL]),
        "system": "Be brief.",
        "chosen": TURNS[4],
        "rejected": "x",
    },
    {"prompt": {**NODE, "replies": [{**NODE, "role": "assistant"}]}, "message_tree_id": "1"},
    {
        "instruction": "Say",
        "instances": [{"input": "Hi", "output": "Hello"}],
        "input": "x",
        "output": "y",
        "response": "z",
    },
    {"dialogue_id": "1", "turns": [{"speaker": "USER", "utterance": "Hi", "frames": FRAMES}]},
    {"instruction": "Say", "input": "Hi", "output": "Hello", "history": [["a", "b"]], "system": "Be brief."},
    {"question": "Which?", "choices": {"text": ["a", "b"], "label": ["1", "2"]}, "answer": "1", "context": "Hm"},
    {"question": "Which?", "choices": ["a", "b"], "answer": 1, "answers": {"text": ["a"]}},
    {"prompt": TURNS[:2], "completion": TURNS[4:], "label": False, "chosen": TURNS, "rejected": TURNS[:2] + TURNS[4:]},
    {"inputs": "Hi", "targets": "Hello", "source": "Hi", "target": 1.0, "images": []},
    {"chosen": "\n\nHuman: Hi\n\nAssistant: A", "rejected": "\n\nHuman: Hi\n\nAssistant: B"},
    {"chosen_messages": TURNS, "rejected_messages": TURNS[:2] + TURNS[4:]},
    {"instruction": "Hi", "output_1": "A", "output_2": "B", "preference": 2.0},
]
STRANGE = st.recursive(
    st.sampled_from((None, True, -1, 7, 0.5, 1e300, "", "x", "<think>x", "{}", "[3]", "assistant")),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(("name", "text", "a")), inner, max_size=2)
    ),
    max_leaves=4,
)


def spoilt(value: Any, draw: Callable[..., Any], whole: bool = True) -> Any:
    """The value, with something strange in one place of it; not all of it, where it is to be kept whole."""
    if (whole or draw(st.integers(0, 3))) and isinstance(value, dict | list) and value:
        place = draw(st.sampled_from(sorted(value) if isinstance(value, dict) else range(len(value))))
        copy: Any = value.copy()
        copy[place] = spoilt(value[place], draw, whole=False)
        return copy
    return draw(STRANGE)


@settings(max_examples=300)
@given(st.data())
def test_no_row_however_strange_is_more_than_broken(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "strange.jsonl"
    path.write_text(json.dumps(spoilt(data.draw(st.sampled_from(ROWS)), data.draw)) + "\n{}\n")
    for read_file, formats in ((read_conversations, FORMATS), (read_preferences, PREFERENCE_FORMATS)):
        for name in (None, *formats):
            ledger = Ledger("strange")
            list(read_file(path, ledger, 1.0, name))
            ledger.check()
            assert ledger.rows_read == 2
