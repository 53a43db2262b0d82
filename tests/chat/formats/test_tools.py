"""Field failures: calls, results and tools that were lost or given to another."""

from __future__ import annotations

from typing import Any

import pytest

from tutelage.chat.formats.conversations import FORMATS
from tutelage.chat.formats.tools import REORDERED, calls_not_offered, pair_results, read_calls, read_tools
from tutelage.chat.formats.turns import clean, read_messages
from tutelage.io.row import BrokenRow
from tutelage.records import Message, ToolCall, ToolResult

TIDE = {"type": "function", "function": {"name": "tide", "parameters": {}}}
TIDE_TEXT = '{"type":"function","function":{"name":"tide","parameters":{}}}'


def calls(*ids: str) -> Message:
    return Message("assistant", tuple(ToolCall(f"f{number}", "{}", name) for number, name in enumerate(ids)))


def result(text: str, call_id: str = "") -> Message:
    return Message("tool", (ToolResult(text, call_id),))


def paired(*turns: Message) -> list[tuple[str, str]]:
    """The text of each result with the id of its call."""
    parts = [part for turn in pair_results(turns, []) for part in turn.content]
    return [(part.text, part.call_id) for part in parts if isinstance(part, ToolResult)]


def test_f22_a_result_belongs_to_the_call_that_it_names() -> None:
    assert paired(calls("a", "b"), result("of b", "b"), result("of a", "a")) == [("of a", "a"), ("of b", "b")]
    notes: list[str] = []
    pair_results([calls("a", "b"), result("of b", "b"), result("of a", "a")], notes)
    assert notes == [REORDERED]


def test_without_ids_results_answer_the_calls_in_order() -> None:
    assert paired(calls("", ""), result("one"), result("two")) == [("one", ""), ("two", "")]
    assert paired(calls("a", "b"), result("one"), result("two")) == [("one", "a"), ("two", "b")]
    assert paired(calls("", ""), result("one", "x"), result("two", "y")) == [("one", ""), ("two", "")]
    assert paired(calls("a", "b"), result("of b", "b"), result("other")) == [("other", "a"), ("of b", "b")]


@pytest.mark.parametrize(
    ("turns", "problem"),
    [
        ((calls("a"), result("x", "b")), "message 1: 'b' answers no call before it"),
        ((calls("a"), result("x", "a"), result("y", "a")), "message 2: 'a' answers a call that has a result already"),
        ((calls("a", "a"), result("x", "a")), "message 0: two calls have the same id"),
    ],
)
def test_a_result_of_no_call_is_a_broken_row(turns: tuple[Message, ...], problem: str) -> None:
    with pytest.raises(BrokenRow, match=problem):
        pair_results(turns, [])


def test_f23_the_ids_of_the_data_are_kept() -> None:
    call = {"id": "k7Qx2mZ9a", "type": "function", "function": {"name": "tide", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "Tide?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "6 feet", "tool_call_id": "k7Qx2mZ9a"},
    ]
    turns, _ = clean(read_messages(messages, "messages"))
    assert turns[1].content == (ToolCall("tide", "{}", "k7Qx2mZ9a"),)
    assert turns[2].content == (ToolResult("6 feet", "k7Qx2mZ9a"),)


@pytest.mark.parametrize(
    "row",
    [
        {"tools": [TIDE]},
        {"functions": [TIDE["function"]]},
        {"tool_defs": [TIDE["function"]]},
        {"tools": [TIDE_TEXT]},
        {"tools": f"[{TIDE_TEXT}]"},
    ],
)
def test_f19_f20_tools_are_read_under_every_name_and_as_texts(row: dict[str, Any]) -> None:
    assert read_tools(row) == (TIDE_TEXT,)


def test_f04_an_argument_twice_in_the_text_of_a_call_is_a_broken_row() -> None:
    with pytest.raises(BrokenRow, match="^a field twice, with different values .'pier'; keep one of the two values"):
        read_calls(0, '{"name": "tide", "arguments": "{\\"pier\\": 4, \\"pier\\": 5}"}')
    (call,) = read_calls(0, '{"name": "tide", "arguments": "{\\"pier\\": 4, \\"pier\\": 4} ?"}')
    assert call.arguments == '{"pier": 4, "pier": 4} ?'


def test_tools_under_two_names_are_ambiguous() -> None:
    with pytest.raises(BrokenRow, match="ambiguous fields"):
        read_tools({"tools": [TIDE], "functions": [TIDE]})


def test_tools_in_the_system_message_are_read() -> None:
    row = {"messages": [{"role": "system", "content": "", "tools": [TIDE]}, {"role": "user", "content": "Tide?"}]}
    (dialogue,) = FORMATS["messages"].read(row)
    assert dialogue.tools == (TIDE_TEXT,)


def test_f25_a_query_with_tools_and_calls_is_no_question_in_words() -> None:
    row = {"query": "Tide at pier 4?", "tools": [TIDE], "answers": '[{"name": "tide", "arguments": {"pier": 4}}]'}
    name = next(name for name, format_ in FORMATS.items() if format_.recognises(row))
    (dialogue,) = FORMATS[name].read(row)
    assert dialogue.messages[-1] == Message("assistant", (ToolCall("tide", '{"pier":4}'),))
    assert dialogue.tools == (TIDE_TEXT,)


def test_a_call_of_a_function_that_nobody_offers_is_noticed() -> None:
    assert calls_not_offered([calls("a")], [TIDE_TEXT]) == {"f0"}
    assert calls_not_offered([Message("assistant", (ToolCall("tide", "{}"),))], [TIDE_TEXT]) == set()
