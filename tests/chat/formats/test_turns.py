from __future__ import annotations

import json
from typing import Any

import pytest

from tutelage.chat.formats.tools import WITHOUT_CALL, read_tools
from tutelage.chat.formats.turns import (
    CUT_OFF,
    END_MARKER,
    JOINED,
    THINK_TAGS,
    check_learnable,
    check_text_only,
    clean,
    read_messages,
    until_last_answer,
    with_message_lists,
)
from tutelage.io.row import BrokenRow
from tutelage.records import Message, Reasoning, Text, ToolCall, ToolResult, message

SEARCH = {"name": "search", "arguments": {"q": "Ada"}}
CALLED = ToolCall("search", '{"q":"Ada"}')
ASKED = message("user", "Who is Ada?")


def read(*written: object) -> list[Message]:
    return read_messages(list(written), "messages")


def said(text: str) -> Message:
    return message("assistant", text)


def test_openai_messages_with_all_they_can_say() -> None:
    calls = [{"id": "1", "type": "function", "function": {"name": "search", "arguments": '{"q":  "Ada"}'}}]
    assert read(
        {"role": "developer", "content": "Be brief.", "name": None},
        {"role": "user", "content": [{"type": "text", "text": "Who is "}, {"type": "text", "text": "Ada?"}]},
        {"role": "assistant", "content": None, "reasoning_content": "Look.", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "1", "name": "search", "content": [{"type": "text", "text": "A poet."}]},
        {"role": "assistant", "content": "Sure?", "function_call": {"name": "search", "arguments": '{"q":"Ada"}'}},
        {"role": "function", "name": "search", "content": "A mathematician."},
        {"role": "assistant", "content": "A mathematician.", "weight": 1},
    ) == [
        message("system", "Be brief."),
        ASKED,
        Message("assistant", (Reasoning("Look."), ToolCall("search", '{"q":  "Ada"}', "1"))),
        Message("tool", (ToolResult("A poet.", "1"),)),
        Message("assistant", (Text("Sure?"), CALLED)),
        Message("tool", (ToolResult("A mathematician."),)),
        said("A mathematician."),
    ]


def test_a_table_of_messages_is_read_as_a_list() -> None:
    """As Arrow's data sets keep a list of objects; null means that the message has no such field."""
    written = [{"role": "user", "content": "Who is Ada?"}, {"role": "assistant", "content": "A poet.", "weight": 0}]
    table = {"role": ["user", "assistant"], "content": ["Who is Ada?", "A poet."], "weight": [None, 0], "name": None}
    read_row = with_message_lists({"messages": table, "id": 7, "tools": {"role": "text"}})
    assert read_row["id"] == 7 and read_row["tools"] == {"role": "text"}
    assert read(*read_row["messages"]) == read(*written)
    sharegpt = with_message_lists({"conversations": {"from": ["human"], "value": ["Who is Ada?"]}})
    assert read(*sharegpt["conversations"]) == [ASKED]
    for wrong in ({"role": ["user"], "content": ["a", "b"]}, {"from": ["human"], "value": "a"}):
        with pytest.raises(BrokenRow, match="the columns of 'messages' have different lengths"):
            with_message_lists({"messages": wrong})


@pytest.mark.parametrize("mark", ["mask", "masked", "train_detail", "training_detail"])
def test_a_mark_that_may_mean_either_is_refused(mark: str) -> None:
    with pytest.raises(BrokenRow, match=f"message 1: '{mark}': .*write loss: true or false") as error:
        read({"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Ada", mark: 0})
    assert error.value.reason == "unclear loss mark"


def test_a_turn_marked_as_axolotl_does_is_not_learned() -> None:
    _, answer = read({"role": "user", "content": "Who?"}, {"role": "assistant", "content": "A", "train_on_turn": False})
    assert not answer.trained


def test_a_refusal_is_the_answer() -> None:
    for content in (None, ""):
        declined = {"role": "assistant", "content": content, "refusal": "No."}
        assert read({"role": "user", "content": "Who?"}, declined)[1] == said("No.")


@pytest.mark.parametrize("field", ["image", "images", "image_path", "picture_url", "Videos", "audio_file", "image_id"])
def test_a_row_with_a_medium_under_any_name_is_refused(field: str) -> None:
    with pytest.raises(BrokenRow, match=f"'{field}'; only text is supported"):
        check_text_only({"prompt": "What is it?", field: "x"})
    check_text_only({"prompt": "What is it?", field: "", "imagery": "x", "audience": "all"})


def test_sharegpt_messages() -> None:
    assert read(
        {"from": "system", "value": "Be brief."},
        {"from": "human", "value": "Who is Ada?"},
        {"from": "function_call", "value": json.dumps(SEARCH)},
        {"from": "observation", "value": "A poet."},
        {"from": "function_call", "value": json.dumps([SEARCH, {**SEARCH, "arguments": '{"q": 1}'}])},
        {"from": "tool", "value": "A mathematician."},
        {"from": "gpt", "value": "A mathematician."},
    ) == [
        message("system", "Be brief."),
        ASKED,
        Message("assistant", (CALLED,)),
        Message("tool", (ToolResult("A poet."),)),
        Message("assistant", (CALLED, ToolCall("search", '{"q": 1}'))),
        Message("tool", (ToolResult("A mathematician."),)),
        said("A mathematician."),
    ]


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "reasoning", "value": "Hm."}, {"type": "text", "value": "A"}, {"type": "text", "value": " poet."}],
        [{"type": "thinking", "thinking": "Hm.", "signature": "x"}, {"type": "output_text", "text": "A poet."}],
    ],
)
def test_parts_of_every_kind_keep_their_order(content: list[dict[str, str]]) -> None:
    called = {"type": "tool_call", "value": json.dumps(SEARCH)}
    (result,) = read({"role": "assistant", "content": [*content, called]})
    assert result.content == (Reasoning("Hm."), Text("A poet."), CALLED)


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "thinking"])
def test_reasoning_under_any_of_its_names(name: str) -> None:
    assert read({"role": "assistant", "content": "A poet.", name: "Hm."})[0].content == (
        Reasoning("Hm."),
        Text("A poet."),
    )


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("<think>\nHm.\n</think>\n\nA poet.", (Reasoning("Hm."), Text("A poet."))),
        ("\n<think>Hm.</think>A poet.", (Reasoning("Hm."), Text("A poet."))),
        ("<think>\n\n</think>\n\nA poet.", (Text("A poet."),)),
    ],
)
def test_reasoning_leaves_its_tags(text: str, parts: tuple[Any, ...]) -> None:
    assert clean([ASKED, said(text)]) == ([ASKED, Message("assistant", parts)], [THINK_TAGS])


@pytest.mark.parametrize("marker", ["<|endoftext|>", "</s>", "<|im_end|>"])
def test_an_end_marker_that_is_written_out_is_taken_off(marker: str) -> None:
    assert clean([ASKED, said(f"A poet.{marker}")]) == ([ASKED, said("A poet.")], [END_MARKER])
    for turns in ([ASKED, said(f"Texts end with {marker}!")], [message("user", f"What is {marker}"), said("An end.")]):
        assert clean(turns) == (turns, [])


def test_words_about_tags_are_words() -> None:
    for turns in ([ASKED, said("Models write <think>.")], [message("user", "<think>What?"), said("That.")]):
        assert clean(turns) == (turns, [])
    with pytest.raises(BrokenRow, match="reasoning without an end"):
        clean([ASKED, said("<think>Hm. A poet.")])


def test_calls_of_their_own_join_their_turn() -> None:
    calls = Message("assistant", (CALLED,))
    turns = [ASKED, said("I look."), calls, calls, Message("tool", (ToolResult("A poet."),)), said("A poet.")]
    result, notes = clean(turns)
    assert result == [ASKED, Message("assistant", (Text("I look."), CALLED, CALLED)), *turns[4:]]
    assert notes == [JOINED, JOINED]
    assert clean([ASKED, calls, *turns[4:]]) == ([ASKED, calls, *turns[4:]], [])


def test_a_result_without_a_call_is_noted() -> None:
    turns = [ASKED, said("search('Ada')"), Message("tool", (ToolResult("A poet."),)), said("A poet.")]
    assert clean(turns) == (turns, [WITHOUT_CALL])


def test_empty_system_messages_are_left_out() -> None:
    assert clean([message("system", ""), Message("system", ()), ASKED]) == ([ASKED], [])


@pytest.mark.parametrize(
    "after", [[ASKED], [Message("tool", (ToolResult("1"),))], [ASKED, message("system", "Be brief.")]]
)
def test_unanswered_turns_are_removed(after: list[Message]) -> None:
    notes: list[str] = []
    assert until_last_answer([ASKED, said("A poet."), *after], notes) == [ASKED, said("A poet.")]
    assert notes == [CUT_OFF]
    notes.clear()
    for whole in ([ASKED, said("A poet.")], [ASKED], []):
        assert until_last_answer(whole, notes) == whole
    assert not notes


@pytest.mark.parametrize(
    ("turns", "problem"),
    [
        ([], "^empty conversation$"),
        ([ASKED], r"^one-sided conversation \(no message of the assistant\)$"),
        ([said("Hi")], r"^one-sided conversation \(no message of the user\)$"),
        ([ASKED, ASKED, said("Hi")], r"^two user turns in a row \(messages 0 and 1; is one missing\?\)$"),
        ([ASKED, said("Hi"), said("Ho")], r"^two assistant turns in a row \(messages 1 and 2"),
        ([ASKED, said("")], r"^a message that cannot be learned from \(message 1: the assistant answers nothing"),
        ([message("user", " "), said("Hi")], "message 0: a user message without content"),
        ([ASKED, Message("assistant", (ToolCall("f", "Ada"),))], "the arguments of the call to 'f' are not a JSON obj"),
        ([Message("user", (Text("Hi"), CALLED)), said("Hi")], "ToolCall is not allowed in a user message"),
    ],
)
def test_unlearnable_turns_are_refused(turns: list[Message], problem: str) -> None:
    with pytest.raises(BrokenRow, match=problem):
        check_learnable(turns)


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("Hi", r"malformed message \(message 0: Expected `object`, got `str`\)"),
        ({"role": "user", "content": 3}, r"malformed message \(message 0: Expected"),
        ({"role": "bot", "content": "Hi"}, r"unknown role \(message 0: 'bot' is not one of system, developer, user"),
        ({"content": "Hi"}, r"unknown role \(message 0: '' is not one of"),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]},
            "multimodal row .*'image_url'",
        ),
        ({"role": "user", "content": [{"type": "input_audio"}]}, r"multimodal row \(message 0: 'input_audio'"),
        ({"role": "user", "content": [{"type": "text"}]}, r"malformed message \(message 0: a part of type 'text' with"),
        (
            {"role": "user", "content": [{"type": "poem", "text": "x"}]},
            "malformed message .*unknown type of part 'poem'",
        ),
        (
            {"role": "assistant", "content": "Hm", "weight": 0.5},
            r"weighted message \(message 0: a weight is 0 or 1",
        ),
        ({"role": "assistant", "content": "Hm", "loss_weight": 2}, "weighted message"),
        ({"role": "assistant", "content": "Hm", "weight": 1, "loss": False}, "contradictory loss marks"),
        ({"role": "user", "content": "Hm", "train": True}, "a message of another role marked to be learned"),
        ({"from": "function_call", "value": "search()"}, r"malformed tool call \(message 0: JSON is malformed"),
        (
            {"from": "function_call", "value": '{"arguments": {}}'},
            "malformed tool call .*missing required field `name`",
        ),
        ({"from": "function_call"}, r"malformed tool call \(message 0: it is not a text\)"),
    ],
)
def test_a_malformed_message_is_named(written: object, problem: str) -> None:
    with pytest.raises(BrokenRow, match=f"^{problem}"):
        read(written)


def test_messages_that_are_no_list() -> None:
    with pytest.raises(BrokenRow, match=r"^malformed message \('messages' is not a list\)$"):
        read_messages("Hi", "messages")


FUNCTION = {"name": "search", "parameters": {"type": "object", "default": None}}
TOOL = {"type": "function", "function": FUNCTION}


@pytest.mark.parametrize(
    "row",
    [
        {"tools": [TOOL, TOOL]},
        {"tools": [FUNCTION, TOOL]},
        {"functions": [FUNCTION, FUNCTION]},
        {"tools": json.dumps([FUNCTION, TOOL], indent=1)},
    ],
)
def test_tools_come_in_openais_layout(row: dict[str, Any]) -> None:
    tools = read_tools(row)
    assert [json.loads(tool) for tool in tools] == [TOOL, TOOL]


@pytest.mark.parametrize("row", [{}, {"tools": None}, {"tools": []}, {"tools": "[]"}, {"tools": ""}])
def test_no_tools(row: dict[str, Any]) -> None:
    assert read_tools(row) == ()


@pytest.mark.parametrize(
    ("tools", "problem"),
    [
        ("search", "JSON is malformed"),
        ({"name": "search"}, "not a list of functions"),
        (["search"], "JSON is malformed"),
        (['"search"'], "tool 0 is not a function with a name"),
        ([TOOL, {"description": "x"}], "tool 1 is not a function with a name"),
    ],
)
def test_malformed_tools_are_named(tools: object, problem: str) -> None:
    with pytest.raises(BrokenRow, match=rf"^malformed tools \({problem}"):
        read_tools({"tools": tools})
