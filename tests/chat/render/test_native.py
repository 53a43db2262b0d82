from __future__ import annotations

from itertools import pairwise, takewhile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from native_chats import (
    GREETING,
    LONG,
    PARTS,
    RENDERER,
    TOKENIZER,
    check,
    conversations,
    render,
    render_prompt,
    tokens,
    trained,
)

from tutelage.chat.render.renderer import Rendered, example
from tutelage.chat.render.template import part_text
from tutelage.records import ROLES, Conversation, Message, Part, Reasoning, Text, ToolResult, message


def test_the_greeting_token_by_token() -> None:
    rendered = render(GREETING)
    rows = zip(
        tokens(rendered), rendered.weights.tolist(), rendered.roles.tolist(), rendered.spans.tolist(), strict=True
    )
    nowhere = [-1, -1, -1, -1]
    assert [(token, weight, ROLES[role], span) for token, weight, role, span in rows] == [
        ("<|user|>", 0, "user", nowhere),
        (" Write", 0, "user", [0, 0, 0, 5]),
        (" a", 0, "user", [0, 0, 5, 7]),
        (" greeting", 0, "user", [0, 0, 7, 16]),
        ("<|end|>", 0, "user", nowhere),
        ("<|assistant|>", 0, "assistant", nowhere),
        (" Good", 1, "assistant", [1, 0, 0, 4]),
        (" day", 1, "assistant", [1, 0, 4, 8]),
        ("<|end|>", 1, "assistant", nowhere),
    ]
    assert (rendered.ids.dtype, rendered.weights.dtype, rendered.roles.dtype) == (np.int32, np.float32, np.uint8)
    assert rendered.spans.dtype == np.int32


def test_pain_02_the_mask_of_a_many_turned_conversation_is_there() -> None:
    rendered = render(LONG)
    # Every text has a space put before it.
    assert "".join(trained(rendered)) == (
        '<|think|> look<|/think|><|call|> {"name": "find", "arguments": {"who": "Ada"}}<|/call|> Ada is Ada<|end|>'
        '<|call|> {"name": "find", "arguments": {}}<|/call|><|end|>'
        " Nobody<|end|>"
    )
    assert "".join(tokens(rendered)) == (
        "<|system|> Be brief<|end|><|user|> Who is Ada?<|end|><|assistant|><|think|> look<|/think|>"
        '<|call|> {"name": "find", "arguments": {"who": "Ada"}}<|/call|><|result|> a person<|/result|> Ada is Ada'
        '<|end|><|user|> And Bo?<|end|><|assistant|><|call|> {"name": "find", "arguments": {}}<|/call|><|end|>'
        "<|tool|><|result|> nobody<|/result|><|end|><|assistant|> Nobody<|end|>"
    )
    assert not render_prompt(LONG).weights.any()


def test_pain_03_off_by_one_the_first_answer_token_and_the_end_are_trained() -> None:
    rendered = render(GREETING)
    header = tokens(rendered).index("<|assistant|>")
    # weights[t] is on predicting ids[t]: what reads the header must learn to predict the first answer token.
    assert rendered.weights[header] == 0
    assert rendered.weights[header + 1] == 1
    assert tokens(rendered)[header + 1] == " Good"
    assert rendered.weights[-1] == 1


def test_pain_04_every_end_of_an_assistant_turn_is_trained_and_stops_generation() -> None:
    rendered = render(LONG)
    ends = np.flatnonzero(rendered.ids == TOKENIZER.special("<|end|>"))
    by_assistant = rendered.roles[ends] == ROLES.index("assistant")
    assert by_assistant.sum() == 3
    assert np.array_equal(rendered.weights[ends] == 1, by_assistant)
    assert RENDERER.stop_ids == {TOKENIZER.special("<|end|>")}


def test_all_tokens_trains_all_but_the_first_token() -> None:
    rendered = render(LONG, train_on="all_tokens")
    assert rendered.weights.tolist() == [0] + [1] * (len(rendered.ids) - 1)
    only_user = Conversation(GREETING.messages[:1])
    assert render(only_user, train_on="all_tokens").weights.tolist() == [0, 1, 1, 1, 1]


@settings(max_examples=80, deadline=None)
@given(conversations())
def test_the_prompt_is_a_prefix_of_what_is_trained(conversation: Conversation) -> None:
    whole = render(conversation)
    headers = np.flatnonzero(whole.ids == TOKENIZER.special("<|assistant|>"))
    turns = [place for place, one in enumerate(conversation.messages) if one.role == "assistant"]
    assert len(headers) == len(turns)
    for header, turn in zip(headers.tolist(), turns, strict=True):
        prompt = render_prompt(Conversation(conversation.messages[:turn]), spans=True)
        assert prompt.ids.tolist() == whole.ids[: header + 1].tolist()
        assert prompt.roles.tolist() == whole.roles[: header + 1].tolist()
        assert prompt.spans.tolist() == whole.spans[: header + 1].tolist()


@settings(max_examples=80, deadline=None)
@given(conversations())
def test_renderings_are_verified_traceable_and_parsed_back(conversation: Conversation) -> None:
    whole = render(conversation)
    check(whole, conversation)
    opens = True
    for token, (turn, part, start, stop) in zip(whole.ids.tolist(), whole.spans.tolist(), strict=True):
        if token in TOKENIZER.special_tokens.values():
            assert (turn, part, start, stop) == (-1, -1, -1, -1)
            opens = True
        else:
            source = from_part_on(conversation.messages[turn], part)[start:stop]
            own = TOKENIZER.token_bytes(token)[1 if opens else 0 :]
            assert own in source.encode()
            assert bool(own) == (start < stop)
            assert start <= len(part_text(conversation.messages[turn].content[part]))
            opens = False
    begin = len(render_prompt(Conversation(conversation.messages[:-1])).ids)
    assert RENDERER.parse(whole.ids[begin:]) == conversation.messages[-1]


def from_part_on(one: Message, part: int) -> str:
    """The characters of a part and of the Text parts that go on with it."""
    first = one.content[part]
    run = [first, *takewhile(lambda next: isinstance(next, Text), one.content[part + 1 :])]
    return "".join(map(part_text, run if isinstance(first, Text) else [first]))


@settings(max_examples=80, deadline=None)
@given(conversations(), st.data())
def test_tokens_do_not_depend_on_how_a_text_is_cut_into_parts(conversation: Conversation, data: st.DataObject) -> None:
    def cut(part: Part) -> list[Part]:
        if not isinstance(part, Text):
            return [part]
        places = sorted(data.draw(st.lists(st.integers(0, len(part.text)), max_size=3)))
        return [Text(part.text[a:b]) for a, b in pairwise([0, *places, len(part.text)])]

    cut_up = Conversation(
        tuple(Message(one.role, tuple(p for part in one.content for p in cut(part))) for one in conversation.messages)
    )
    whole, pieces = render(conversation), render(cut_up)
    assert pieces.ids.tolist() == whole.ids.tolist()
    assert pieces.weights.tolist() == whole.weights.tolist()
    assert pieces.roles.tolist() == whole.roles.tolist()
    assert from_start_of_message(pieces, cut_up) == from_start_of_message(whole, conversation)
    check(pieces, conversation)
    check(whole, cut_up)


def from_start_of_message(rendered: Rendered, conversation: Conversation) -> list[tuple[int, int, int]]:
    """The spans with their characters counted over all parts of the message."""
    spans = []
    for turn, part, start, stop in rendered.spans.tolist():
        before = sum(len(part_text(earlier)) for earlier in conversation.messages[turn].content[: max(part, 0)])
        spans.append((turn, before + start, before + stop))
    return spans


def test_a_token_over_two_parts_names_the_one_it_begins_in() -> None:
    user = Message("user", (Text(""), Text("Wri"), Text(""), Text("te a greeting1"), Text("2")))
    rendered = render_prompt(Conversation((user,)), spans=True)
    assert list(zip(tokens(rendered), rendered.spans.tolist(), strict=True))[1:-2] == [
        (" Write", [0, 1, 0, 5]),
        (" a", [0, 3, 2, 4]),
        (" greeting", [0, 3, 4, 13]),
        ("1", [0, 3, 13, 14]),
        ("2", [0, 4, 0, 1]),
    ]


@settings(max_examples=80, deadline=None)
@given(st.lists(PARTS, max_size=5))
def test_an_answer_is_parsed_into_the_parts_it_was_rendered_from(parts: list[Part]) -> None:
    answer = Message("assistant", tuple(parts))
    ids = render_prompt(Conversation((answer,))).ids[1:-1]  # without the headers of this turn and the next
    parsed = RENDERER.parse(ids)
    assert parsed == RENDERER.parse(ids[:-1])
    assert parsed.text == answer.text
    assert [part for part in parsed.content if not isinstance(part, Text)] == [
        part for part in parts if not isinstance(part, Text)
    ]


def test_many_are_rendered_as_each_alone() -> None:
    many = [GREETING, LONG, GREETING]
    for spans in (False, True):
        for conversation, made in zip(many, RENDERER.render_rows(many, spans=spans), strict=True):
            assert isinstance(made, list)
            (together,) = made
            alone = render(conversation)
            assert together.ids.tolist() == alone.ids.tolist()
            assert together.weights.tolist() == alone.weights.tolist()
            assert together.roles.tolist() == alone.roles.tolist()
            assert together.spans.tolist() == alone.spans.tolist() if spans else together.spans is None
    assert RENDERER.render_rows([]) == RENDERER.render_prompts([]) == []


def generated(text_and_names: list[str]) -> Message:
    ids: list[int] = []
    for piece in text_and_names:
        ids += [TOKENIZER.special(piece)] if piece in TOKENIZER.special_tokens else TOKENIZER.encode(piece).tolist()
    return RENDERER.parse(ids)


@pytest.mark.parametrize(
    ("pieces", "parts"),
    [
        ([], ()),
        (["<|end|>", "more"], ()),
        (["Good day"], (Text("Good day"),)),
        (["<|think|>", "hm"], (Reasoning("hm"),)),
        (["<|think|>", "<|call|>", "x", "<|/think|>", "y"], (Reasoning("<|call|>x"), Text("y"))),
        (["a", "<|call|>", "{", "<|/call|>", "b"], (Text("a<|call|>{<|/call|>b"),)),
        (["a", "<|call|>", '{"name"'], (Text('a<|call|>{"name"'),)),
        (["a", "<|user|>", "b", "<|/think|>", "<|end|>"], (Text("a<|user|>b<|/think|>"),)),
        (["<|think|>", " hm", "<|/think|>", " y"], (Reasoning(" hm"), Text(" y"))),
        (["<|result|>", "5"], (ToolResult("5"),)),
    ],
)
def test_whatever_is_generated_becomes_a_message(pieces: list[str], parts: tuple[Part, ...]) -> None:
    answer = generated(pieces)
    assert answer == Message("assistant", parts)
    # The next prompt can be rendered, whatever the model has said before.
    render_prompt(Conversation((*GREETING.messages, answer, message("user", "Go on"))))


def test_an_example_carries_weights_and_roles() -> None:
    rendered = render(GREETING)
    one = example(rendered)
    assert one.tokens is rendered.ids
    assert one.weights is rendered.weights
    assert one.streams["roles"] is rendered.roles


def test_rows_are_rendered_or_say_why_not_each_for_itself() -> None:
    lone = Conversation((message("user", "\ud800"), message("assistant", "Hi")), id="row 2")
    silent = Conversation((message("user", "Hi"),), id="row 3")
    first, bad, unanswered, last = RENDERER.render_rows([GREETING, lone, silent, LONG])
    assert isinstance(first, list) and first[0].ids.tolist() == render(GREETING).ids.tolist()
    assert isinstance(last, list) and last[0].ids.tolist() == render(LONG).ids.tolist()
    assert isinstance(bad, ValueError) and str(bad).startswith("conversation row 2, message 0: ")
    assert isinstance(unanswered, ValueError) and "no assistant message" in str(unanswered)


def test_the_last_turn_alone_and_answers_without_questions() -> None:
    turns = ("user", "One"), ("assistant", "Two"), ("user", "Three"), ("assistant", "Four")
    conversation = Conversation(tuple(message(role, text) for role, text in turns))  # type: ignore[arg-type]
    ((last,),) = RENDERER.render_rows([conversation], "last_assistant")
    assert TOKENIZER.decode(last.ids[last.weights > 0]) == "Four<|end|>"
    assert TOKENIZER.decode(last.ids) == TOKENIZER.decode(render(conversation).ids)
    (answers,) = RENDERER.render_rows([conversation], "response_only")
    assert [TOKENIZER.decode(one.ids) for one in answers] == ["<|assistant|> Two<|end|>", "<|assistant|> Four<|end|>"]
    assert [TOKENIZER.decode(one.ids[one.weights > 0]) for one in answers] == ["Two<|end|>", "Four<|end|>"]
    ((everything,),) = RENDERER.render_rows([conversation], "all_tokens")
    assert everything.weights.tolist() == [0.0] + [1.0] * (len(everything.ids) - 1)
