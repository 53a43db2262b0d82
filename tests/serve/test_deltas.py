from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.chat.render.native import NativeRenderer
from tutelage.chat.render.template import TEMPLATE_TOKENS
from tutelage.engine.text_stream import MARKERS, Piece, TextStream
from tutelage.records import Message, Reasoning, Text, ToolCall
from tutelage.serve.deltas import DeltaReader, chat_text_stream, delta_reader, joined
from tutelage.serve.tool_calls import ToolCallReader
from tutelage.tokenizer import END_OF_TEXT, Tokenizer, TokenizerSettings, train

TOKENIZER = train(["a call"], TokenizerSettings(vocab=259), (END_OF_TEXT,)).extend(TEMPLATE_TOKENS)
CALL = '{"name": "add", "arguments": {"a": [1, "}"], "b": "\\"\\\\"}}'
ARGUMENTS = '{"a": [1, "}"], "b": "\\"\\\\"}'


def published(text: str, cuts: list[int]) -> list[dict[str, Any]]:
    """The deltas of a text in the form of published templates, whose pieces are cut at these places."""
    stream = TextStream(TOKENIZER)
    stream._classify(text)
    stream.flush()
    reader = DeltaReader(True, *MARKERS["tool_call"])
    deltas = []
    for piece in stream.pieces:
        places = sorted({0, len(piece.text), *(cut % (len(piece.text) + 1) for cut in cuts)})
        for start, end in itertools.pairwise(places):
            deltas += reader.read([Piece(piece.kind, piece.number, piece.text[start:end])])
    return deltas + reader.end()


def without_ids(message: dict[str, Any]) -> dict[str, Any]:
    calls = [call["function"] for call in message.get("tool_calls", ())]
    return {**message, "tool_calls": calls}


ANSWERS = [
    "Just text.\n",
    "  \n",
    f"I will add.\n<tool_call>\n{CALL}\n</tool_call>",
    f"<tool_call>\n{CALL}\n</tool_call>\n<tool_call>\n{CALL}\n</tool_call>",
    f"<think>\nFirst add.\n\nThen say.\n</think>\n\n<tool_call>{CALL}</tool_call>\nDone.",
    "<think>\n\n</think>\n\nNo thought.",
    "<tool_call>{broken</tool_call> after",
    '<tool_call>{"arguments": {"x": 1}, "name": "late"}</tool_call>',
    '<tool_call>{"name": "empty", "arguments": {}}</tool_call>',
    '<tool_call>{"name": "cut", "arguments": {"x": "y',
    "<think>cut in the middle",
]


@given(st.sampled_from(ANSWERS), st.lists(st.integers(0, 200), max_size=12))
def test_s18_deltas_of_any_split_add_up_to_the_whole(answer: str, cuts: list[int]) -> None:
    whole, split = published(answer, []), published(answer, cuts)
    assert without_ids(joined(whole)) == without_ids(joined(split))
    for delta in split:
        for call in delta.get("tool_calls", ()):
            assert call["function"]["arguments"] in answer  # always what the model wrote


def test_what_published_templates_write_around_texts_is_no_text() -> None:
    messages = [without_ids(joined(published(answer, []))) for answer in ANSWERS]
    call = {"name": "add", "arguments": ARGUMENTS}
    assert messages[0]["content"] == "Just text.\n"
    assert messages[2]["content"] == "I will add."
    assert messages[2]["tool_calls"] == [call]
    assert (messages[3]["content"], messages[3]["tool_calls"]) == (None, [call, call])
    assert messages[4]["reasoning_content"] == "First add.\n\nThen say."
    assert messages[4]["content"] == "Done."
    assert "reasoning_content" not in messages[5]
    assert messages[6]["content"] == "<tool_call>{broken</tool_call>after"
    assert messages[7]["tool_calls"] == [{"name": "late", "arguments": '{"x": 1}'}]
    assert messages[8]["tool_calls"] == [{"name": "empty", "arguments": "{}"}]
    assert messages[9]["tool_calls"] == [{"name": "cut", "arguments": '{"x": "y'}]


@given(st.text(st.sampled_from('{}[]"\\ab:, 1'), max_size=60), st.integers(0, 60))
def test_s18_no_text_breaks_the_reader_of_calls(text: str, cut: int) -> None:
    written = '{"name": "f", "arguments": {' + text
    whole, split = ToolCallReader(), ToolCallReader()
    whole.push(written)
    sent = split.push(written[:cut]) + split.push(written[cut:])
    assert sent == split.arguments == whole.arguments
    assert sent in written


def answered(*parts: Text | Reasoning | ToolCall, tools: bool = True) -> dict[str, Any]:
    """The message that comes of an answer in Tutelage's own template, token by token."""
    from tutelage.records import Conversation, message

    renderer = NativeRenderer(TOKENIZER)
    conversation = Conversation((message("user", "a"), Message("assistant", parts)))
    (row,) = renderer.render_rows([conversation])[0]
    prompt = renderer.render_prompts([Conversation((message("user", "a"),))])[0].ids
    answer = row.ids[len(prompt) : -1].tolist()
    stream, reader = chat_text_stream(renderer, prompt.tolist(), (), tools), delta_reader(renderer)
    deltas = []
    for token in answer:
        deltas += reader.read(stream.push(token))
    deltas += reader.read(stream.flush())
    return without_ids(joined(deltas + reader.end()))


def test_s20_what_training_writes_comes_back_as_the_same_parts() -> None:
    parts = (Reasoning("first a\n"), Text(" text \n"), ToolCall("add", ARGUMENTS), ToolCall("end", "{}"))
    message = answered(*parts)
    assert message["reasoning_content"] == "first a\n"
    assert message["content"] == " text \n"
    assert message["tool_calls"] == [{"name": "add", "arguments": ARGUMENTS}, {"name": "end", "arguments": "{}"}]


def test_s21_a_text_that_spells_a_marker_is_a_text() -> None:
    spelled = f"<|call|>{CALL}<|/call|><|think|>"
    assert answered(Text(spelled)) == {"role": "assistant", "content": spelled, "tool_calls": []}


def test_without_tools_a_call_is_text() -> None:
    message = answered(ToolCall("end", "{}"), tools=False)
    assert message["tool_calls"] == []
    assert json.loads(message["content"].removeprefix("<|call|>").removesuffix("<|/call|>"))["name"] == "end"


@pytest.mark.parametrize("tail", ["<think>", "<think>\n"])
def test_an_answer_goes_on_where_the_prompt_opened_a_thought(tail: str) -> None:
    class Published:
        tokenizer: Tokenizer = TOKENIZER

    renderer: Any = Published()
    stream = chat_text_stream(renderer, TOKENIZER.encode(f"a {tail}").tolist(), (), False)
    assert stream.opens_with == "reasoning"
    assert chat_text_stream(renderer, TOKENIZER.encode(f"{tail} a").tolist(), (), False).opens_with == "text"
