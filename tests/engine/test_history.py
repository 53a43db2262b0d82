from __future__ import annotations

import pytest

from tutelage.chat.render.native import NativeRenderer
from tutelage.chat.render.template import TEMPLATE_TOKENS
from tutelage.engine.history import fit_history
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
    return len(RENDERER.render_prompt(Conversation(messages)).ids)  # type: ignore[arg-type]


def test_what_fits_is_left_alone() -> None:
    whole = Conversation((SYSTEM, *TURNS, LAST))
    shown, gone = fit_history(RENDERER, whole, prompt_length(*whole.messages) + 5, 5)
    assert shown.messages == whole.messages
    assert gone == 0


@pytest.mark.parametrize("opening", [(), (SYSTEM,)])
def test_the_oldest_exchanges_go_first_and_the_system_message_stays(opening: tuple) -> None:
    whole = Conversation((*opening, *TURNS, LAST))
    for dropped in (2, 4, 6):
        wanted = (*opening, *TURNS[dropped:], LAST)
        just = prompt_length(*wanted)
        shown, gone = fit_history(RENDERER, whole, just + 7, 7)
        assert shown.messages == wanted
        assert gone == dropped
        if dropped < 6:
            assert fit_history(RENDERER, whole, just + 6, 7)[1] == dropped + 2


def test_a_last_message_that_cannot_fit_is_one_sentence() -> None:
    whole = Conversation((SYSTEM, *TURNS, LAST))
    needed = prompt_length(SYSTEM, LAST)
    with pytest.raises(ValueError, match="^the last") as error:
        fit_history(RENDERER, whole, needed + 4, 5)
    assert str(error.value) == (
        f"the last message needs {needed} tokens and the answer 5, but the context holds {needed + 4}; "
        "shorten the message"
    )
