from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.chat.render.template import TEMPLATE_TOKENS, check, check_answers, parse_call, part_text
from tutelage.records import Conversation, Message, Part, Reasoning, Text, ToolCall, ToolResult, message

CALL = ToolCall("search", '{"query":  "Ada"}')
USER = message("user", "Who is Ada?")

TEXTS = st.text(st.characters(exclude_categories=("Cs",)))
OBJECTS = st.dictionaries(TEXTS, st.recursive(st.none() | st.integers(-(2**53), 2**53) | TEXTS, st.lists, max_leaves=5))


def test_the_order_of_the_tokens_is_fixed() -> None:
    assert " ".join(TEMPLATE_TOKENS) == (
        "<|user|> <|assistant|> <|end|> <|system|> <|tool|> "
        "<|think|> <|/think|> <|call|> <|/call|> <|result|> <|/result|>"
    )


@given(TEXTS, OBJECTS, st.sampled_from([None, 2]), st.booleans())
def test_a_call_is_json_and_keeps_every_character(name: str, arguments: dict, indent: int | None, ascii: bool) -> None:
    call = ToolCall(name, json.dumps(arguments, indent=indent, ensure_ascii=ascii))
    written = part_text(call)
    assert json.loads(written) == {"name": name, "arguments": arguments}
    assert parse_call(written) == call


def test_a_call_in_another_layout_is_understood() -> None:
    assert parse_call('{ "arguments": {"query":  "Ada"}, "name":"search" }') == CALL


@pytest.mark.parametrize(
    "text",
    ["", "search(Ada)", '{"name": "search"}', '{"name": "search", "arguments": [1]}', '{"name": 3, "arguments": {}}',
     '{"name": "search", "arguments": {"query": }}', '{"name": "search", "arguments": {}} thanks'],
)  # fmt: skip
def test_what_is_no_call_is_not_taken_for_one(text: str) -> None:
    assert parse_call(text) is None


@pytest.mark.parametrize(
    "messages",
    [
        (USER, USER, message("assistant", "A poet's daughter.")),
        (message("assistant", "Good day!"),),
        (USER, message("system", "Be brief."), message("assistant", "Yes."), message("assistant", "No.")),
        (USER, Message("assistant", (CALL,)), Message("tool", (ToolResult(""),)), message("tool", "nobody")),
        (
            USER,
            Message("assistant", (Reasoning("hm"), CALL, ToolResult("a poet's daughter"), Text("A mathematician."))),
        ),
    ],
)
def test_unusual_conversations_can_be_said(messages: tuple[Message, ...]) -> None:
    check(Conversation(messages))
    check_answers(Conversation(messages))


@pytest.mark.parametrize(
    ("messages", "sentence"),
    [
        ((USER, message("bot", "Hi")), "message 1: unknown role 'bot'; use one of system, user, assistant, tool"),
        ((message("user", " \n"),), "message 0: a user message without content; remove or fill it"),
        ((Message("user", ()),), "message 0: a user message without content; remove or fill it"),
        ((USER, message("tool", "5")), "message 1: a tool message must follow an assistant's; move or remove it"),
        ((message("tool", "5"),), "message 0: a tool message must follow an assistant's; move or remove it"),
        ((Message("user", (CALL,)),), "message 0: ToolCall is not allowed in a user message; move it"),
        ((Message("system", (Reasoning("hm"),)),), "message 0: Reasoning is not allowed in a system message; move it"),
        (
            (USER, Message("assistant", (ToolCall("search", "Ada"),))),
            "message 1: the arguments of the call to 'search' are not a JSON object: 'Ada'; correct them",
        ),
    ],
)
def test_what_cannot_be_said_is_refused_in_one_sentence(messages: tuple[Message, ...], sentence: str) -> None:
    with pytest.raises(ValueError, match="^conversation") as error:
        check(Conversation(messages, id="chats.jsonl:7"))
    assert str(error.value) == f"conversation chats.jsonl:7, {sentence}"


@pytest.mark.parametrize("content", [(), (Text(""),), (Text(" \n"), Text("")), (Reasoning("hm"),), (ToolResult("5"),)])
def test_an_assistant_that_answers_nothing_is_refused(content: tuple[Part, ...]) -> None:
    conversation = Conversation((USER, Message("assistant", content)), id="row 3")
    check(conversation)
    with pytest.raises(ValueError, match="^conversation row 3, message 1: the assistant answers nothing; remove"):
        check_answers(conversation)
