from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tutelage.chat.formats.conversations import DELETED, EARLIER, FORMATS
from tutelage.chat.formats.turns import Dialogue
from tutelage.io.row import BrokenRow
from tutelage.records import Message, ToolCall, ToolResult, message

USER = {"role": "user", "content": "Who is Ada?"}
ASSISTANT = {"role": "assistant", "content": "A poet."}
TALK = [("user", "Who is Ada?"), ("assistant", "A poet.")]
TOOL = {"type": "function", "function": {"name": "search"}}
# One row of each format, all of which say the same.
ALIKE: list[tuple[str, dict[str, Any]]] = [
    ("messages", {"messages": [USER, ASSISTANT], "prompt": "unread, for the row has messages", "completion": "x"}),
    ("sharegpt", {"conversations": [{"from": "human", "value": "Who is Ada?"}, {"from": "gpt", "value": "A poet."}]}),
    ("sharegpt", {"conversations": [USER, ASSISTANT], "system": "", "tools": "[]"}),
    ("alpaca", {"instruction": "Who is Ada?", "input": "", "output": "A poet.", "text": "Below is an instruction"}),
    ("alpaca", {"instruction": "Who is Ada?", "input": None, "output": "A poet.", "history": [], "system": ""}),
    ("dolly", {"instruction": "Who is Ada?", "context": "", "response": "A poet.", "category": "open_qa"}),
    ("prompt-completion", {"prompt": "Who is Ada?", "completion": "A poet."}),
    ("prompt-completion", {"prompt": [USER], "completion": [ASSISTANT]}),
    ("prompt-completion", {"prompt": [USER], "completion": "A poet."}),
    ("prompt-completion", {"prompt": "Who is Ada?", "completion": ASSISTANT}),
    ("prompt-completion", {"system_prompt": "", "question": "Who is Ada?", "response": "A poet."}),
    ("prompt-completion", {"query": "Who is Ada?", "response": "A poet.", "messages": None}),
    ("question", {"question": "Who is Ada?", "answer": "A poet."}),
    ("inputs-targets", {"inputs": "Who is Ada?", "targets": "A poet."}),
    ("self-instruct", {"instruction": "Who is Ada?", "instances": [{"input": "", "output": "A poet."}]}),
    ("oasst", {"text": "Who is Ada?", "role": "prompter", "replies": [{"text": "A poet.", "role": "assistant"}]}),
    ("sgd", {"dialogue_id": "1", "turns": [{"speaker": "USER", "utterance": "Who is Ada?"},
                                           {"speaker": "SYSTEM", "utterance": "A poet."}]}),
]  # fmt: skip


def recognised(row: dict[str, Any]) -> str:
    return next(name for name, format_ in FORMATS.items() if format_.recognises(row))


def texts(dialogue: Dialogue) -> list[tuple[str, str]]:
    return [(turn.role, turn.text) for turn in dialogue.messages]


@pytest.mark.parametrize(("name", "row"), ALIKE)
def test_each_format_is_recognised_and_read(name: str, row: dict[str, Any]) -> None:
    assert recognised(row) == name
    (dialogue,) = FORMATS[name].read(row)
    assert texts(dialogue) == TALK
    assert not dialogue.tools
    assert not dialogue.notes


def test_each_format_is_tried_here() -> None:
    assert {name for name, _ in ALIKE} == set(FORMATS) - {"oasst-best", "query-calls"}  # see test_tools.py


def test_each_format_is_documented() -> None:
    page = (Path(__file__).parents[3] / "docs" / "fine-tuning.md").read_text(encoding="utf-8")
    assert [name for name in FORMATS if f"| `{name}` |" not in page] == []


def test_an_input_follows_its_instruction_and_system_and_history_open() -> None:
    row = {"instruction": "Translate.", "input": "bonjour", "output": "good day", "system": "Be brief."}
    (dialogue,) = FORMATS["alpaca"].read({**row, "history": [["Hi", "Hello"]]})
    assert texts(dialogue) == [
        ("system", "Be brief."),
        ("user", "Hi"),
        ("assistant", "Hello"),
        ("user", "Translate.\n\nbonjour"),
        ("assistant", "good day"),
    ]
    assert not dialogue.notes


def test_tools_and_a_system_message_stand_beside_the_messages() -> None:
    row = {"messages": [USER, ASSISTANT], "tools": [TOOL]}
    assert [json.loads(tool) for tool in FORMATS["messages"].read(row)[0].tools] == [TOOL]
    row = {"conversations": [USER, ASSISTANT], "tools": json.dumps([TOOL["function"]]), "system": "Be brief."}
    (dialogue,) = FORMATS["sharegpt"].read(row)
    assert [json.loads(tool) for tool in dialogue.tools] == [TOOL]
    assert texts(dialogue) == [("system", "Be brief."), *TALK]


def test_answers_inside_a_prompt_are_noted() -> None:
    row = {"prompt": [USER, ASSISTANT, USER], "completion": [ASSISTANT]}
    (dialogue,) = FORMATS["prompt-completion"].read(row)
    assert texts(dialogue) == TALK * 2
    assert dialogue.notes == (EARLIER,)


def test_each_instance_is_a_conversation() -> None:
    row = {"instruction": "Add.", "instances": [{"input": "1 1", "output": "2"}, {"input": "1 2", "output": "3"}]}
    assert [texts(dialogue) for dialogue in FORMATS["self-instruct"].read(row)] == [
        [("user", "Add.\n\n1 1"), ("assistant", "2")],
        [("user", "Add.\n\n1 2"), ("assistant", "3")],
    ]


def node(text: str, *replies: dict[str, Any], rank: int | None = None, deleted: bool = False) -> dict[str, Any]:
    role = "prompter" if text.endswith("?") else "assistant"
    return {"text": text, "role": role, "replies": list(replies), "rank": rank, "deleted": deleted, "emojis": {}}


def ways(name: str, root: dict[str, Any]) -> list[str]:
    read = FORMATS[name].read
    assert read({"prompt": root}) == read(root)  # a tree, or its first message alone
    return [" ".join(turn.text for turn in dialogue.messages) for dialogue in read(root)]


def test_a_tree_gives_every_way_to_a_last_answer_or_the_best() -> None:
    root = node(
        "a?",
        node("b", node("c?", node("d")), node("unanswered?"), rank=1),
        node("e", node("unanswered?"), node("unanswered too?"), rank=2),
        node("f", node("g?", node("h", rank=1), node("i", rank=0), node("j")), rank=0),
    )
    assert ways("oasst", root) == ["a? b c? d", "a? e", "a? f g? h", "a? f g? i", "a? f g? j"]
    assert ways("oasst-best", root) == ["a? f g? i"]
    assert ways("oasst", node("a?")) == ["a?"]  # broken, and said so when it is checked


def test_deleted_messages_of_a_tree_are_noted() -> None:
    root = node("a?", node("b"), node("spam", node("more?", node("c")), deleted=True))
    assert ways("oasst", root) == ["a? b"]
    assert [dialogue.notes for dialogue in FORMATS["oasst"].read(root)] == [(DELETED,)]


def test_service_calls_of_a_guided_dialogue_are_tool_calls() -> None:
    frame = {"service_call": {"method": "Find", "parameters": {"city": "Ulm"}}, "service_results": [{"name": "Krone"}]}
    turns = [
        {"speaker": "USER", "utterance": "A place in Ulm?", "frames": [{"state": {}}]},
        {"speaker": "SYSTEM", "utterance": "The Krone.", "frames": [frame]},
    ]
    assert FORMATS["sgd"].read({"dialogue_id": "1", "turns": turns})[0].messages == [
        message("user", "A place in Ulm?"),
        Message("assistant", (ToolCall("Find", '{"city":"Ulm"}'),)),
        Message("tool", (ToolResult('[{"name":"Krone"}]'),)),
        message("assistant", "The Krone."),
    ]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"messages": "Hi"}, r"malformed message \('messages' is not a list\)"),
        ({"prompt": 3, "completion": "x"}, r"field that is not text \('prompt'\)"),
        ({"prompt": "x", "completion": 3}, r"field that is not text \('completion'\)"),
        (
            {"prompt": "x", "completion": "y", "response": "z"},
            r"ambiguous fields \('completion' and 'response' mean the same; remove one\)",
        ),
        ({"prompt": "x", "instruction": "y", "output": "z"}, "ambiguous fields"),
        ({"conversations": [{"from": "system", "value": "x"}], "system": "y"}, "ambiguous fields .*a system message"),
        ({"instruction": "x", "output": "y", "history": ["Hi"]}, "malformed history"),
        ({"instruction": "x", "output": "y", "history": [["Hi", 3]]}, "malformed history"),
        ({"instruction": "x", "instances": []}, "malformed instances"),
        ({"instruction": "x", "instances": ["y"]}, "malformed instances"),
        ({"role": "prompter", "replies": []}, r"malformed tree \(Object missing required field `text`"),
        ({"role": "user", "text": "x", "replies": []}, r"unknown role \('user' is not one of prompter, assistant\)"),
        ({"dialogue_id": "1", "turns": ["Hi"]}, "malformed message"),
        ({"dialogue_id": "1", "turns": [{"speaker": "BOT", "utterance": "Hi"}]}, "unknown role"),
    ],
)
def test_a_broken_row_is_named(row: dict[str, Any], problem: str) -> None:
    with pytest.raises(BrokenRow, match=f"^{problem}"):
        FORMATS[recognised(row)].read(row)
