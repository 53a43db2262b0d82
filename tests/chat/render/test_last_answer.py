from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from tutelage.chat.render.hf import HFRenderer
from tutelage.chat.render.last_answer import continued, ended
from tutelage.records import Conversation, message

Make = Callable[..., HFRenderer]

# As GLM-4 writes conversations: an answer ends where the next turn's header begins.
NO_END = (
    "{% for message in messages %}{{ '<|user|>' if message.role == 'user' else '<|assistant|>' }}{{ '\\n' }}"
    "{{ message.content }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{{ '\\n' }}{% endif %}"
)
TALK = Conversation(
    (message("user", "One?"), message("assistant", "A."), message("user", "Two?"), message("assistant", "B."))
)


def test_a_thought_that_the_prompt_opens_is_closed_before_the_answer() -> None:
    assert continued("[A]<think>\n", "[A]Six.[E]", "4 + 2\n") == "[A]<think>\n4 + 2\n</think>\n\nSix.[E]"
    assert continued("[A]<think>\n", "[A]Six.[E]", "") == "[A]<think>\n\n</think>\n\nSix.[E]"


def test_what_no_prompt_opens_is_left_alone() -> None:
    assert continued("[A]", "[A]Six.[E]", "4 + 2") is None
    assert continued("[A]<think>\n", "[B]Six.[E]", "4 + 2") is None
    assert continued("[A]<think>\n", "[A]<think></think>Six.[E]", "") is None, "the template has its own empty thought"


def test_the_end_of_a_turn_is_taken_only_where_it_follows_at_once() -> None:
    ends = re.compile("<user>")
    assert ended("[A]Six.", "[A]Six.<user>word", ends) == "[A]Six.<user>"
    assert ended("[A]Six.", "[A]Six.\n<user>word", ends) is None
    assert ended("[A]Six.", "[A] Six.<user>word", ends) is None


def trained(renderer: HFRenderer, conversation: Conversation) -> list[str]:
    (made,) = renderer.render_rows([conversation])
    assert isinstance(made, list), made
    return [renderer.tokenizer.decode(one.ids[one.weights > 0]) for one in made]


def test_an_answer_that_only_the_next_header_ends_is_trained_with_it(make: Make) -> None:
    """GLM-4: generation stops at <|user|>, says its generation_config.json."""
    other = make(NO_END.replace("message.content }}", "message.content }}</s>"))
    ends = [other.tokenizer.special_tokens[name] for name in ("<|user|>", "</s>")]
    config = replace(other.config, template=NO_END, generation_config={"eos_token_id": ends})
    renderer = HFRenderer(other.tokenizer, config)
    assert trained(renderer, TALK) == ["A.<|user|>B.<|user|>"]
    assert {renderer.tokenizer.token_text(token) for token in renderer.stop_ids} == {"<|user|>"}
    with pytest.raises(ValueError, match="no end-of-turn token"):
        HFRenderer(other.tokenizer, replace(config, generation_config={}))
