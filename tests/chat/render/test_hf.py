from __future__ import annotations

import dataclasses
import json
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers.processors import TemplateProcessing

from tutelage.batching.datasets import SplitLedgers, conversation_groups, open_or_write
from tutelage.chat.render.config import ChatConfig
from tutelage.chat.render.hf import HFRenderer
from tutelage.chat.render.layout import VerificationError
from tutelage.chat.render.make import make_renderer, trained_config
from tutelage.chat.render.native import NativeRenderer
from tutelage.chat.render.renderer import Rendered
from tutelage.chat.render.template import NATIVE_JINJA, TEMPLATE_TOKENS
from tutelage.ledger import Ledger
from tutelage.records import Conversation, Message, Reasoning, Text, ToolCall, ToolResult, message
from tutelage.tokenizer import Tokenizer, TokenizerSettings, train

Make = Callable[..., HFRenderer]
OpenAI = Callable[..., list[dict[str, Any]]]

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TRIMMED = (
    "{{ bos_token }}{% for message in messages %}{% if message.role == 'user' %}[INST] "
    "{{ message.content | trim }} [/INST]{% else %} {{ message.content | trim }}{{ eos_token }}{% endif %}{% endfor %}"
)
# Reasoning is dropped from all turns but the last, as many checkpoints do.
FORGETFUL = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{% if message.reasoning_content and loop.last %}"
    "<think>{{ message.reasoning_content }}</think>{% endif %}{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TALK = Conversation(
    (
        message("system", "Be brief."),
        message("user", "What is 2 + 3?"),
        message("assistant", "It is 5."),
        message("user", "Größer als 4? 🙂"),
        message("assistant", "Ja, größer. 🙂"),
    ),
    id="talk",
)
THOUGHTS = Conversation(
    (
        message("user", "Why?"),
        Message("assistant", (Reasoning("Let me see."), Text("So."))),
        message("user", "Sure?"),
        Message("assistant", (Reasoning("I am."), Text("Yes."))),
    ),
    id="thoughts",
)


def made(renderer: HFRenderer, conversation: Conversation, train_on: Any = "assistant") -> list[Rendered]:
    (found,) = renderer.render_rows([conversation], train_on)
    assert isinstance(found, list), found
    return found


def trained_text(renderer: HFRenderer, rendered: Rendered) -> str:
    return b"".join(
        renderer.tokenizer.token_bytes(token)
        for token, weight in zip(rendered.ids.tolist(), rendered.weights.tolist(), strict=True)
        if weight
    ).decode()


def shown(renderer: HFRenderer, rendered: Rendered) -> str:
    return b"".join(map(renderer.tokenizer.token_bytes, rendered.ids.tolist())).decode()


def test_pain_02_and_03_the_first_answer_token_and_every_end_are_trained(make: Make) -> None:
    renderer = make(CHATML, eos="<|im_end|>")
    (one,) = made(renderer, TALK)
    assert trained_text(renderer, one) == "It is 5.<|im_end|>Ja, größer. 🙂<|im_end|>"
    names = [renderer.tokenizer.token_text(token) for token in one.ids.tolist()]
    begins = [place for place in range(1, len(names)) if one.weights[place] and not one.weights[place - 1]]
    assert [names[place - 1 : place + 1] for place in begins] == [["\n", "I"], ["\n", "J"]]
    ends = [place for place, name in enumerate(names) if name == "<|im_end|>"]
    assert one.weights[ends].tolist() == [0, 0, 1, 0, 1]
    assert not one.weights[[place + 1 for place in ends]].any()


def test_pain_04_pad_is_eos_and_the_end_is_trained_all_the_same(make: Make) -> None:
    renderer = make(CHATML, eos="<|im_end|>")
    padded = {**renderer.config.tokenizer_config, "pad_token": "<|im_end|>"}
    renderer = HFRenderer(renderer.tokenizer, dataclasses.replace(renderer.config, tokenizer_config=padded))
    (one,) = made(renderer, TALK)
    assert trained_text(renderer, one).count("<|im_end|>") == 2
    assert renderer.stop_ids == {renderer.tokenizer.special("<|im_end|>")}


def test_pain_05_the_end_of_a_turn_is_not_eos_and_generation_stops_on_it(make: Make) -> None:
    renderer = make(CHATML, eos="<|endoftext|>")
    (one,) = made(renderer, TALK)
    end = renderer.tokenizer.special("<|im_end|>")
    assert one.ids[one.weights > 0][-1] == end
    assert renderer.stop_ids == {end}
    assert trained_config(renderer.config, renderer).generation_config["eos_token_id"] == end
    assert renderer.parse(one.ids[-3:]).text.endswith("🙂"[-1:]) or renderer.parse([end, 5]).text == ""


def test_pain_06_two_bos_are_refused_in_training_and_serving_and_one_stays_one(make: Make) -> None:
    with pytest.raises(ValueError, match="two BOS tokens open the text .it begins with <s> twice.; give the folder"):
        make("{{ bos_token }}" + CHATML.replace("{% for", "<s>{% for", 1), eos="<|im_end|>")
    renderer = make("{{ bos_token }}" + CHATML, eos="<|im_end|>")
    # What adds a BOS to every text must not add one to a template that writes its own.
    bos = renderer.tokenizer.special("<s>")
    backend = Backend.from_str(renderer.tokenizer.backend.to_str())
    backend.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", bos)])
    adding = HFRenderer(Tokenizer(backend), renderer.config)
    for one in (made(adding, TALK)[0], adding.render_prompts([TALK])[0]):
        assert one.ids.tolist().count(bos) == 1
        assert one.ids[0] == bos
    # One that depends on what is said shows only when it is said.
    sly = make("{% if messages[0].content == 'x' %}<s>{% endif %}<s>" + CHATML, eos="<|im_end|>")
    (refused,) = sly.render_rows([Conversation((message("user", "x"), message("assistant", "y")))])
    assert isinstance(refused, VerificationError)
    assert refused.reason == "two BOS tokens open the text"


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        (CHATML.replace("{{ message.content }}", ""), "the template leaves out a text .message 0, user: its text."),
        (CHATML.replace("<|im_end|>", ""), "assistant turn has no end-of-turn token .message 1."),
        (CHATML.partition("{% if add")[0], "the generation prompt lacks the assistant header"),
    ],
)
def test_pain_08_a_template_that_cannot_be_trained_with_says_why(template: str, sentence: str, make: Make) -> None:
    with pytest.raises(ValueError, match=f"this checkpoint's chat template cannot be used: {sentence}"):
        make(template, eos="<|im_end|>", more=("<|im_end|>",))


def test_pain_08_a_conversation_without_trained_tokens_says_why(make: Make) -> None:
    renderer = make(CHATML, eos="<|im_end|>")
    asked = Conversation((message("user", "Hi"),), id="chats.jsonl:3")
    (refused,) = renderer.render_rows([asked])
    assert str(refused) == "conversation chats.jsonl:3: no assistant message to train on"
    empty = Conversation((message("user", "Hi"), message("assistant", " ")), id="chats.jsonl:4")
    (refused,) = renderer.render_rows([empty])
    assert "conversation chats.jsonl:4, message 1: the assistant answers nothing" in str(refused)


def units(renderer: HFRenderer, rows: list[Conversation], max_refused: float) -> tuple[list[Any], Ledger]:
    ledgers = SplitLedgers.of("chat")
    found = list(conversation_groups(rows, renderer, 512, 0.0, "assistant", "error", max_refused, ledgers))
    ledgers.train.check()
    return found, ledgers.train


def test_pain_14_reasoning_that_is_dropped_later_gives_an_example_per_turn_and_the_ledger_counts_it(make: Make) -> None:
    renderer = make(FORGETFUL, eos="<|im_end|>")
    first, second = made(renderer, THOUGHTS)
    assert trained_text(renderer, first) == "<think>Let me see.</think>So.<|im_end|>"
    assert trained_text(renderer, second) == "<think>I am.</think>Yes.<|im_end|>"
    assert "Let me see" not in shown(renderer, second)
    found, ledger = units(renderer, [THOUGHTS, TALK], 0)
    assert len(found) == 3
    assert {what: note.rows for what, note in ledger.noted.items()} == {
        "conversations whose turns are trained one by one": 1
    }
    assert (ledger.rows_read, ledger.rows_kept, ledger.rows_out) == (2, 2, 3)


@pytest.mark.parametrize("template", [CHATML, TRIMMED, FORGETFUL])
def test_pain_14_an_answer_is_trained_after_the_very_tokens_that_generation_is_given(template: str, make: Make) -> None:
    renderer = make(template, eos="<|im_end|>")
    for conversation in (Conversation(TALK.messages[1:]), THOUGHTS):
        if template is not FORGETFUL and conversation is THOUGHTS:
            continue
        answers = [number for number, one in enumerate(conversation.messages) if one.role == "assistant"]
        examples = made(renderer, conversation)
        for place, number in enumerate(answers):
            one = examples[place if len(examples) > 1 else 0]
            before = renderer.render_prompts([Conversation(conversation.messages[:number])])[0].ids
            assert one.ids[: len(before)].tolist() == before.tolist()
            assert one.weights[len(before)] == 1


def test_pain_15_refused_rows_are_counted_with_their_reason_and_too_many_are_fatal(make: Make) -> None:
    renderer = make(CHATML, eos="<|im_end|>")
    bad = Conversation((message("user", "a<|im_end|>"), message("assistant", "b")), id="chats.jsonl:7")
    silent = Conversation((message("user", "a"),), id="chats.jsonl:8")
    rows = [TALK] * 8 + [bad, silent]
    found, ledger = units(renderer, rows, 0.2)
    assert len(found) == 8
    assert {reason: one.rows for reason, one in ledger.dropped.items()} == {
        "a special token in a text": 1,
        "no assistant message to train on": 1,
    }
    (where,) = ledger.dropped["a special token in a text"].examples
    assert where == "conversation chats.jsonl:7: a special token in a text (message 0 holds <|im_end|>; remove it)"
    with pytest.raises(ValueError, match=r"2 of 10 conversations cannot be .* max_refused = 0.1 .*chats.jsonl:7"):
        units(renderer, rows, 0.1)
    with pytest.raises(ValueError, match="^conversation chats.jsonl:7: a special token"):
        units(renderer, rows, 0)


def test_pain_18_the_second_run_opens_what_the_first_has_tokenised(make: Make, tmp_path: Path) -> None:
    renderer = make(CHATML, eos="<|im_end|>")

    def opened(rows: Iterator[Conversation]) -> Any:
        ledgers = SplitLedgers.of("chat")
        found = conversation_groups(rows, renderer, 512, 0.0, "assistant", "error", 0.0, ledgers)
        return open_or_write(tmp_path, [renderer.fingerprint(), "rows"], found, ledgers).train

    def nothing() -> Iterator[Conversation]:
        raise AssertionError("the rows are read again")
        yield TALK

    first, second = opened(iter([TALK] * 3)), opened(nothing())
    assert len(second) == 3
    assert second.group(2)[0].tokens.tolist() == first.group(2)[0].tokens.tolist()


PIECES = [*"ab z\n\t<|>é語🙂", "<|im", "_end|>", "[INST]", "<s>", "\u0301"]
WORDS = st.lists(st.sampled_from(PIECES), max_size=8).map("".join)


@pytest.mark.parametrize("kind", ["bytes", "nfc", "pieces"])
@pytest.mark.parametrize("template", [CHATML, TRIMMED])
def test_any_text_is_rendered_rightly_or_refused(kind: str, template: str, make: Make) -> None:
    renderer = make(template, eos="<|im_end|>", kind=kind)

    @given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=3))
    def check(exchanges: list[tuple[str, str]]) -> None:
        turns = [one for user, answer in exchanges for one in (message("user", user), message("assistant", answer))]
        (found,) = renderer.render_rows([Conversation(tuple(turns))])
        if isinstance(found, ValueError):
            return
        ends = [f"{answer.strip()}<|im_end|>" for _, answer in exchanges]
        trained = "".join(renderer.tokenizer.decode(one.ids[one.weights > 0]) for one in found)
        expected = normalized("".join(ends)) if kind == "nfc" else "".join(ends)
        assert "".join(trained.split()) == "".join(expected.split())

    check()


def normalized(text: str) -> str:
    return unicodedata.normalize("NFC", text)


# As the checkpoints with such tokenizers have them, in short.
LLAMA_2 = (
    "{% for message in messages %}{% if message.role == 'user' %}"
    "{{ bos_token + '[INST] ' + message.content | trim + ' [/INST]' }}"
    "{% elif message.role == 'assistant' %}{{ ' ' + message.content | trim + ' ' + eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant') }}{% endif %}{% endfor %}"
)
MISTRAL = "{{ bos_token }}" + LLAMA_2.replace("bos_token + '[INST]", "'[INST]").replace("+ ' ' + eos", "+ eos")
GEMMA = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<start_of_turn>' + ('model' if message.role == 'assistant' else message.role) }}\n"
    "{{ message.content | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
PHI_3 = (
    "{% for message in messages %}{{ '<|' + message.role + '|>' }}\n{{ message.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}"
)
PHI_3_TOKENS = ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
FAMILIES: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "llama 2": (LLAMA_2, "pieces", "</s>", {}),
    "mistral": (MISTRAL, "pieces", "</s>", {}),
    "mistral, unigram": (MISTRAL, "unigram", "</s>", {}),
    "gemma": (GEMMA, "gemma", "<end_of_turn>", {}),
    "phi-3": (PHI_3, "pieces", "<|end|>", {"more": PHI_3_TOKENS, "swallow": PHI_3_TOKENS}),
    "phi-3, bytes": (PHI_3, "bytes", "<|end|>", {"more": PHI_3_TOKENS, "swallow": PHI_3_TOKENS}),
    "qwen": (CHATML, "nfc", "<|im_end|>", {}),
}
KNOWN = Conversation(
    (
        message("user", "add the final answer"),
        message("assistant", "The dog:\n  print(add(2, 3))"),
        message("user", "24 clips?\n"),
        message("assistant", "72 clips."),
    )
)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_tokenizers_and_templates_of_families_go_together(family: str, make: Make, openai: OpenAI) -> None:
    from transformers import PreTrainedTokenizerFast

    template, kind, end, more = FAMILIES[family]
    renderer = make(template, kind=kind, **more)
    assert {renderer.tokenizer.token_text(token) for token in renderer.stop_ids} == {end}
    tokens = {key: renderer.config.token(key) for key in ("bos_token", "eos_token")}
    backend = Backend.from_str(renderer.tokenizer.backend.to_str())
    theirs = PreTrainedTokenizerFast(tokenizer_object=backend, chat_template=template, **tokens)
    unknown = Conversation((message("user", "Ω?"), message("assistant", "ключ 日本 🙂")))
    for conversation in (KNOWN, unknown):
        (found,) = renderer.render_rows([conversation])
        if kind == "unigram" and conversation is unknown:
            assert isinstance(found, VerificationError)  # <unk> is not what the assistant says
            assert found.reason == "verification failed"
            continue
        assert isinstance(found, list), found
        (one,) = found
        rows = openai(conversation)
        assert one.ids.tolist() == theirs.apply_chat_template(rows)["input_ids"]
        runs = np.split(np.arange(len(one.ids)), np.flatnonzero(np.diff(one.weights)) + 1)
        trained = [renderer.tokenizer.decode(one.ids[own]) for own in runs if one.weights[own[0]]]
        answers = [turn.text for turn in conversation.messages if turn.role == "assistant"]
        assert [text.split() for text in trained] == [_ended(answer, end, family).split() for answer in answers]
        for number in range(1, len(rows), 2):
            prompt = theirs.apply_chat_template(rows[:number], add_generation_prompt=True)["input_ids"]
            assert one.ids[: len(prompt)].tolist() == prompt
            assert one.weights[len(prompt)] == 1
            assert renderer.render_prompts([Conversation(conversation.messages[:number])])[0].ids.tolist() == prompt


def _ended(answer: str, end: str, family: str) -> str:
    return f"{answer} {end}" if family == "llama 2" else f"{answer}{end}"


def test_an_answer_that_a_tokenizer_joins_with_its_prompt_is_taught_as_generation_is_prompted(make: Make) -> None:
    template = CHATML.replace("assistant\n{% endif", "assistant {% endif").replace("}}\n{{", "}} {{")
    asked = Conversation((message("user", "the"), message("assistant", "dog")))
    bytes_ = make(template, eos="<|im_end|>")
    (one,) = made(bytes_, asked)
    prompt = bytes_.render_prompts([Conversation(asked.messages[:1])])[0].ids
    assert one.ids[: len(prompt)].tolist() == prompt.tolist()
    assert trained_text(bytes_, one) == "dog<|im_end|>"
    pieces = make(template, eos="<|im_end|>", kind="pieces")
    (refused,) = pieces.render_rows([asked])
    assert isinstance(refused, VerificationError)
    assert refused.reason == "a token crosses the start of an answer"


NATIVE = {
    "plain": TALK,
    "thoughts": THOUGHTS,
    "tools": Conversation(
        (
            message("system", "Be brief."),
            message("user", "Wetter in Zürich?"),
            Message("assistant", (Reasoning("Look."), Text("Wait. "), ToolCall("find", '{"city":"Zürich", "n": [1]}'))),
            Message("tool", (ToolResult('{"fog": true}'),)),
            message("assistant", "Fog."),
        ),
        tools=('{"type":"function","function":{"name":"find","description":"Größe <b>","parameters":{}}}',) * 2,
    ),
    "tools alone": Conversation(
        (message("user", "Hi"), message("assistant", "Ho")), tools=('{"type": "function", "function": {"name": "f"}}',)
    ),
    "an empty system message": Conversation(
        (message("system", ""), message("user", "Hi"), message("assistant", "Ho")), tools=('{"name":"f"}',)
    ),
}


@pytest.mark.parametrize("name", NATIVE)
def test_our_own_template_is_rendered_by_transformers_as_by_us(name: str, openai: OpenAI) -> None:
    from transformers import PreTrainedTokenizerFast

    conversation = NATIVE[name]
    tokenizer = train(["It is 5, so be brief: Ja, größer?"] * 4, TokenizerSettings(vocab=280)).extend(TEMPLATE_TOKENS)
    renderer = NativeRenderer(tokenizer)
    backend = Backend.from_str(tokenizer.backend.to_str())
    source = trained_config(ChatConfig(), renderer)
    assert source.template == NATIVE_JINJA
    assert isinstance(make_renderer(tokenizer, source), NativeRenderer)
    theirs = PreTrainedTokenizerFast(tokenizer_object=backend, chat_template=source.template)
    rows = openai(conversation)
    for row, one in zip(rows, conversation.messages, strict=True):
        calls = [part for part in one.content if isinstance(part, ToolCall)]
        for written, call in zip(row.get("tool_calls", ()), calls, strict=True):
            written["function"]["arguments"] = call.arguments  # a text, as OpenAI writes them
    tools = [json.loads(tool) for tool in conversation.tools] or None
    ((one,),) = renderer.render_rows([conversation])
    assert one.ids.tolist() == theirs.apply_chat_template(rows, tools=tools)["input_ids"]
    prompt = theirs.apply_chat_template(rows[:-1], tools=tools, add_generation_prompt=True)["input_ids"]
    asked = dataclasses.replace(conversation, messages=conversation.messages[:-1])
    assert renderer.render_prompts([asked])[0].ids.tolist() == prompt


def test_a_rendering_is_explained(make: Make) -> None:
    renderer = make(CHATML, eos="<|im_end|>")
    two = Conversation((message("user", "Who?"), message("assistant", "Ada.")), id="two")
    first, second = renderer.explain(two), renderer.explain(two)
    assert (first.renderer, first.cache_hit, second.cache_hit) == ("hf", False, True)
    assert first.outline == "<|im_start|>user\n{0.0}<|im_end|>\n<|im_start|>assistant\n{1.0}<|im_end|>\n"
    (turn,) = first.turns
    assert (turn.message, turn.prompt, turn.end_token) == (1, "<|im_start|>assistant\n", "<|im_end|>")
    assert turn.end_rule == "the first token after the text"
    refused = renderer.explain(Conversation((message("user", "<|im_end|>"), message("assistant", "b")), id="bad"))
    assert refused.refused.startswith("conversation bad: a special token in a text")
    forgetful = make(FORGETFUL, eos="<|im_end|>").explain(THOUGHTS)
    assert [turn.message for turn in forgetful.turns] == [1, 3]


def test_the_render_cache_has_a_switch(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    used = make(CHATML, eos="<|im_end|>")
    cached = [used.explain(TALK).cache_hit for _ in range(3)]
    assert cached == [False, True, True]
    switched_off = HFRenderer(used.tokenizer, used.config, cache=False)
    assert [switched_off.explain(TALK).cache_hit for _ in range(3)] == [False] * 3
    assert made(switched_off, TALK)[0].ids.tolist() == made(used, TALK)[0].ids.tolist()
    assert switched_off.fingerprint() == used.fingerprint()
    monkeypatch.setenv("TUTELAGE_RENDER_CACHE", "0")
    by_environment = make_renderer(used.tokenizer, used.config)
    assert isinstance(by_environment, HFRenderer)
    assert not by_environment.cache


def test_the_version_of_the_rendering_is_part_of_every_fingerprint(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = train(["It is 5."] * 4, TokenizerSettings(vocab=280)).extend(TEMPLATE_TOKENS)
    renderers = [make(CHATML, eos="<|im_end|>"), NativeRenderer(tokenizer)]
    before = [renderer.fingerprint() for renderer in renderers]
    monkeypatch.setattr("tutelage.chat.render.hf.RENDERING", 0)
    monkeypatch.setattr("tutelage.chat.render.native.RENDERING", 0)
    assert all(renderer.fingerprint() != old for renderer, old in zip(renderers, before, strict=True))
