"""Many conversations verified together, against each verified alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.chat.render.hf import HFRenderer
from tutelage.chat.render.renderer import Rendered, TrainOn
from tutelage.records import Conversation, message

Make = Callable[..., HFRenderer]
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Some are refused, some open with what joins the end of the prompt, one is blank.
WORDS = st.lists(st.sampled_from([*"ab z\n\t<|>é語🙂", "<|im_end|>", "word", "\u0301"]), max_size=8).map("".join)
TALKS = st.lists(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=3), min_size=1, max_size=12)


def conversation(exchanges: list[tuple[str, str]]) -> Conversation:
    turns = [one for user, answer in exchanges for one in (message("user", user), message("assistant", answer))]
    return Conversation(tuple(turns))


def columns(found: list[Rendered] | ValueError) -> Any:
    if isinstance(found, ValueError):
        return str(found)
    return [(one.ids.tolist(), one.weights.tolist(), one.roles.tolist()) for one in found]


@pytest.mark.parametrize("train_on", get_args(TrainOn))
@pytest.mark.parametrize("kind", ["bytes", "nfc", "pieces"])
def test_many_at_once_are_as_each_alone(kind: str, train_on: TrainOn, make: Make) -> None:
    used = make(CHATML, eos="<|im_end|>", kind=kind)

    @settings(max_examples=30)
    @given(TALKS)
    def check(talks: list[list[tuple[str, str]]]) -> None:
        rows = [conversation(exchanges) for exchanges in talks]
        fresh = make(CHATML, eos="<|im_end|>", kind=kind)
        together = used.render_rows(rows, train_on)
        assert [columns(one) for one in together] == [columns(fresh.render_rows([row], train_on)[0]) for row in rows]

    check()
