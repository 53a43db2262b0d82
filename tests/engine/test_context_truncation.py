from __future__ import annotations

import pytest

from tutelage.chat.render.native import NativeRenderer
from tutelage.chat.render.template import TEMPLATE_TOKENS
from tutelage.engine.context_truncation import truncate_to_context
from tutelage.records import Conversation, message
from tutelage.tokenizer import TokenizerSettings, train

RENDERER = NativeRenderer(train(["abcdefgh "], TokenizerSettings(kind="char")).extend(TEMPLATE_TOKENS))
SYSTEM = message("system", "be a")
TURNS = tuple(
    message(role, text)
    for question, answer in (("aaaa", "bb"), ("cccc", "dd"), ("eeee", "ff"))
    for role, text in (("user", question), ("assistant", answer))
)
LAST = message("user", "gggg")


def prompt_length(*messages: object) -> int:
    return len(RENDERER.render_prompts([Conversation(messages)])[0].ids)  # type: ignore[arg-type]


def test_a_conversation_that_fits_is_unchanged() -> None:
    conversation = Conversation((SYSTEM, *TURNS, LAST))
    truncated, dropped_count = truncate_to_context(RENDERER, conversation, prompt_length(*conversation.messages) + 5, 5)
    assert truncated.messages == conversation.messages
    assert dropped_count == 0


@pytest.mark.parametrize("opening", [(), (SYSTEM,)])
def test_the_oldest_exchanges_are_dropped_and_the_system_message_is_kept(opening: tuple) -> None:
    conversation = Conversation((*opening, *TURNS, LAST))
    for dropped in (2, 4, 6):
        wanted = (*opening, *TURNS[dropped:], LAST)
        just = prompt_length(*wanted)
        truncated, dropped_count = truncate_to_context(RENDERER, conversation, just + 7, 7)
        assert truncated.messages == wanted
        assert dropped_count == dropped
        if dropped < 6:
            assert truncate_to_context(RENDERER, conversation, just + 6, 7)[1] == dropped + 2


def test_a_last_message_that_cannot_fit_is_one_sentence() -> None:
    conversation = Conversation((SYSTEM, *TURNS, LAST))
    needed = prompt_length(SYSTEM, LAST)
    with pytest.raises(ValueError, match="^the last") as error:
        truncate_to_context(RENDERER, conversation, needed + 4, 5)
    assert str(error.value) == (
        f"the last message needs {needed} tokens and the answer 5, but the context holds {needed + 4}; "
        "shorten the message"
    )
