"""What verification catches, and what is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from native_chats import BASE, GREETING, LONG, RENDERER, TOKENIZER, check, render

from tutelage.chat.render.encoding import TokenTable
from tutelage.chat.render.layout import Layout, VerificationError
from tutelage.chat.render.native import NativeRenderer
from tutelage.chat.render.native_text import NativeText
from tutelage.chat.render.renderer import Rendered
from tutelage.chat.render.template import TEMPLATE_TOKENS
from tutelage.chat.render.verify import verify
from tutelage.records import Conversation, Message, Reasoning, Text, message
from tutelage.tokenizer import END_OF_TEXT, TokenizerSettings, train


def changed(rendered: Rendered, edit: Callable[[np.ndarray], np.ndarray]) -> Rendered:
    return dataclasses.replace(rendered, weights=edit(rendered.weights.copy()))


@pytest.mark.parametrize("conversation", [GREETING, LONG])
def test_verification_catches_every_single_wrong_weight(conversation: Conversation) -> None:
    rendered = render(conversation)
    check(rendered, conversation)
    for token in range(len(rendered.ids)):
        wrong = rendered.weights.copy()
        wrong[token] = 1 - wrong[token]
        with pytest.raises(VerificationError, match=f"verification failed .token {token} "):
            check(dataclasses.replace(rendered, weights=wrong), conversation)


@pytest.mark.parametrize(
    "edit",
    [
        lambda weights: np.roll(weights, 1),
        lambda weights: np.roll(weights, -1),
        lambda weights: np.zeros_like(weights),
        lambda weights: np.ones_like(weights),
        lambda weights: weights * 0.5,
    ],
)
def test_verification_catches_a_shifted_an_empty_and_a_full_mask(edit: Callable[[np.ndarray], np.ndarray]) -> None:
    with pytest.raises(VerificationError, match=r"token \d+ .* has weight"):
        check(changed(render(LONG), edit), LONG)


def refuses_ids(conversation: Conversation, ids: np.ndarray) -> None:
    """Verification refuses a rendering and an encoding that agree on these wrong ids."""
    text, table = NativeText([conversation], "assistant"), TokenTable(TOKENIZER)
    encoded = text.encode(TOKENIZER, table, read_back=True)
    ends = np.cumsum(table.lengths(ids))
    forged = dataclasses.replace(encoded, ids=ids, begins=ends - table.lengths(ids), ends=ends)
    rendered = Rendered(ids, np.ones(len(ids), np.float32), np.zeros(len(ids), np.uint8))
    with pytest.raises(VerificationError, match="the tokens do not spell|run together into a special token"):
        verify(rendered, text.layout(), forged, table, RENDERER.stop_ids)
    with pytest.raises(VerificationError, match="the tokens are not those of the text"):
        verify(rendered, text.layout(), encoded, table, RENDERER.stop_ids)


def test_verification_catches_wrong_tokens() -> None:
    rendered = render(GREETING)
    for place in range(len(rendered.ids)):
        refuses_ids(GREETING, np.delete(rendered.ids, place))
        other = rendered.ids.copy()
        other[place] = BASE.encode("z")[0]
        refuses_ids(GREETING, other)
    numbered = Conversation((message("user", "1"), message("assistant", "2")), id="greeting")
    rendered = render(numbered)
    space = TOKENIZER.encode("1")[0]
    assert np.flatnonzero(rendered.ids == space).tolist() == [1, 5]
    for place in (1, 5):  # without the space before a text these are not the tokens of a prompt
        refuses_ids(numbered, np.delete(rendered.ids, place))
    twin = Conversation((message("user", "Good day"), message("assistant", "Good day")))
    with pytest.raises(VerificationError, match="token 1 "):
        check(changed(render(twin), lambda weights: np.roll(weights, -4)), twin)


def test_verification_catches_a_space_where_there_is_no_text() -> None:
    conversation = Conversation((Message("assistant", (Reasoning(""), Text("Good day"))),))
    rendered = render(conversation)
    check(rendered, conversation)
    refuses_ids(conversation, np.insert(rendered.ids, 2, TOKENIZER.encode("1")[0]))


def test_verification_catches_a_special_token_in_the_place_of_its_name() -> None:
    conversation = Conversation((message("assistant", END_OF_TEXT),))
    rendered = render(conversation)
    check(rendered, conversation)
    refuses_ids(conversation, np.array([rendered.ids[0], TOKENIZER.special(END_OF_TEXT), rendered.ids[-1]], np.int32))


def test_a_layout_that_trains_another_text_than_the_answer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = NativeText.layout

    def shifted(text: NativeText) -> Layout:
        layout = honest(text)
        return dataclasses.replace(layout, turns_K3=layout.turns_K3 - np.array([0, 1, 0]))

    monkeypatch.setattr(NativeText, "layout", shifted)
    (refused,) = RENDERER.render_rows([GREETING])
    assert "the trained turns are not what the assistant says" in str(refused)


@pytest.mark.parametrize(
    ("conversation", "train_on", "sentence"),
    [
        (Conversation((), id="row 5"), "all_tokens", "conversation row 5: no messages; remove it"),
        (
            Conversation(GREETING.messages[:1], id="row 5"),
            "assistant",
            "conversation row 5: no assistant message to train",
        ),
        (
            Conversation((message("assistant", ""),), id="row 5"),
            "assistant",
            "conversation row 5, message 0: the assistant",
        ),
        (
            Conversation((message("user", ""),)),
            "all_tokens",
            "conversation without id, message 0: a user message without",
        ),
        (
            GREETING,
            "user",
            "train_on 'user' is unknown; use one of assistant, last_assistant, response_only, all_",
        ),
    ],
)
def test_what_cannot_be_trained_on_is_refused(conversation: Conversation, train_on: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        render(conversation, train_on=train_on)  # type: ignore[arg-type]


def test_a_text_that_cannot_be_encoded_names_its_conversation() -> None:
    bad = Conversation((message("user", "Hi"), message("assistant", "x\ud800")), id="chats.jsonl:9")
    *_, refused, _ = RENDERER.render_rows([GREETING, LONG, bad, GREETING])
    assert str(refused).startswith("conversation chats.jsonl:9, message 1: character 1: a lone surrogate")
    characters = NativeRenderer(train(["Hi"], TokenizerSettings(kind="char"), ()).extend(TEMPLATE_TOKENS))
    with pytest.raises(ValueError, match="^conversation chats.jsonl:9, message 1: character 0: 'x'"):
        characters.render_prompts([bad])


def test_a_tokenizer_without_the_template_is_refused() -> None:
    with pytest.raises(ValueError, match=r"lacks the chat template's tokens <\|user\|>, .*tokenizer.extend"):
        NativeRenderer(BASE)
