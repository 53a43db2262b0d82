"""What a template has no place for is written otherwise, and noted; prompts are written as training was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tutelage.chat.render.adapt import (
    NAMES_LOST,
    OWN_IDS,
    REASONING_AS_TEXT,
    SETTINGS_LOST,
    SYSTEM_FOLDED,
    reasoning_as_text,
    system_folded,
)
from tutelage.chat.render.config import ChatConfig, ChatSettings
from tutelage.chat.render.hf import HFRenderer
from tutelage.chat.render.make import with_chat_settings
from tutelage.chat.render.renderer import Rendered
from tutelage.records import Conversation, Message, Reasoning, Text, ToolCall, ToolResult, message

Make = Callable[..., HFRenderer]

TURN = "<|{{ m.role }}|>{{ m.content }}<|end|>"
PROMPT = "{% if add_generation_prompt %}<|assistant|>{% endif %}"
NAMES = ("<|system|>", "<|user|>", "<|assistant|>", "<|tool|>")
TALK = (message("user", "Why?"), message("assistant", "So."))


def template(turn: str = TURN, before: str = "") -> str:
    return before + "{% for m in messages %}" + turn + "{% endfor %}" + PROMPT


def render(renderer: HFRenderer, conversation: Conversation) -> tuple[str, Rendered]:
    (made,) = renderer.render_rows([conversation])
    assert isinstance(made, list), made
    return renderer.tokenizer.decode(made[0].ids), made[0]


def test_f29_reasoning_becomes_text_where_the_template_has_no_place_for_it(make: Make) -> None:
    thought = Message("assistant", (Reasoning("It is cold.\n"), Text("Stay in.")))
    text, made = render(make(template(), more=NAMES), Conversation((TALK[0], thought)))
    assert text == "<|user|>Why?<|end|><|assistant|><think>\nIt is cold.\n</think>\n\nStay in.<|end|>"
    assert made.notes == (REASONING_AS_TEXT,)
    assert made.weights.sum() == len(made.ids) - made.weights.tolist().index(1)


def test_reasoning_without_an_answer_stands_alone() -> None:
    call = ToolCall("f", "{}")
    (turn,) = reasoning_as_text(Conversation((Message("assistant", (Reasoning("Look."), call)),))).messages
    assert turn.content == (Text("<think>\nLook.\n</think>\n\n"), call)


def test_a_system_message_is_folded_only_where_the_template_takes_none(make: Make) -> None:
    refusing = template("{% if m.role == 'system' %}{{ raise_exception('no') }}{% endif %}" + TURN)
    asked = Conversation((message("system", "Be brief."), *TALK))
    kept = make(refusing, more=NAMES)
    assert isinstance(kept.render_rows([asked])[0], ValueError)
    folding = HFRenderer(kept.tokenizer, with_chat_settings(kept.config, {}, fold_system=True))
    text, made = render(folding, asked)
    assert text == "<|user|>Be brief.\n\nWhy?<|end|><|assistant|>So.<|end|>"
    assert made.notes == (SYSTEM_FOLDED,)
    prompt = folding.render_prompts([replace(asked, messages=asked.messages[:2])])[0]
    assert made.ids.tolist()[: len(prompt.ids)] == prompt.ids.tolist()
    assert folding.fingerprint() != kept.fingerprint()
    taking = make(template(), more=NAMES)
    both = HFRenderer(taking.tokenizer, with_chat_settings(taking.config, {}, fold_system=True))
    assert render(both, asked)[0].startswith("<|system|>Be brief.<|end|>")


def test_a_system_message_alone_is_not_folded() -> None:
    alone = Conversation((message("system", "Be brief."),))
    assert system_folded(alone) == alone


def test_f23_ids_that_the_template_refuses_are_made_up(make: Make) -> None:
    strict = template(
        "<|{{ m.role }}|>{{ m.content }}{% for call in m.tool_calls or [] %}{% if call.id | length != 9 %}"
        "{{ raise_exception('nine characters') }}{% endif %}{{ call.function.name }} {{ call.id }}{% endfor %}<|end|>"
    )
    for given, written in (("k7Qx2mZ9a", "k7Qx2mZ9a"), ("call_1", "000010000")):
        called = (
            message("user", "Why?"),
            Message("assistant", (ToolCall("look", "{}", given),)),
            Message("tool", (ToolResult("six", given),)),
            message("assistant", "So."),
        )
        text, made = render(make(strict, more=NAMES), Conversation(called))
        assert f"look {written}<|end|>" in text
        assert made.notes == (() if given == written else (OWN_IDS,))


def test_f16_names_reach_the_template_or_are_noted(make: Make) -> None:
    named = Conversation((Message("user", (Text("Why?"),), name="Ann"), TALK[1]))
    assert render(make(template(), more=NAMES), named)[1].notes == (NAMES_LOST,)
    text, made = render(make(template("<|{{ m.role }}|>{{ m.name }}: {{ m.content }}<|end|>"), more=NAMES), named)
    assert text.startswith("<|user|>Ann: Why?")
    assert made.notes == ()


def test_f28_settings_reach_the_template_in_training_and_in_prompts(make: Make) -> None:
    thinking = template(
        "<|{{ m.role }}|>{% if m.role == 'assistant' and loop.last %}<think></think>{% endif %}{{ m.content }}<|end|>"
    ).replace("<|assistant|>", "<|assistant|>{% if enable_thinking is false %}<think></think>{% endif %}")
    plain = make(thinking, more=(*NAMES, "<think>", "</think>"))
    conversation = Conversation(TALK)
    assert render(plain, conversation)[1].weights.sum() == len(plain.tokenizer.encode("So.")) + 3  # tags and end
    quiet = HFRenderer(plain.tokenizer, with_chat_settings(plain.config, {"enable_thinking": False}, False))
    row = replace(conversation, template_settings='{"enable_thinking":false}')
    for renderer, asked in ((quiet, conversation), (plain, row)):
        text, made = render(renderer, asked)
        assert text.endswith("<|assistant|><think></think>So.<|end|>")
        assert made.weights.sum() == len(plain.tokenizer.encode("So.")) + 1
    lost = replace(conversation, template_settings='{"depth":3}')
    assert render(plain, lost)[1].notes == (SETTINGS_LOST,)


def test_a_setting_that_the_template_does_not_read_is_refused(make: Make) -> None:
    config = make(template(), more=NAMES).config
    with pytest.raises(ValueError, match="does not read the setting 'enable_thinking'; it reads no setting"):
        with_chat_settings(config, {"enable_thinking": False}, False)
    with pytest.raises(ValueError, match="the renderer gives it to the template"):
        with_chat_settings(config, {"messages": []}, False)


def test_settings_of_a_stage_stand_over_those_of_the_model() -> None:
    own = ChatConfig("{{ a }}{{ b }}", settings=ChatSettings({"a": 1, "b": 2}, system="Be brief."))
    settings = with_chat_settings(own, {"b": 3}, False).settings
    assert settings == ChatSettings({"a": 1, "b": 3}, system="Be brief.")
