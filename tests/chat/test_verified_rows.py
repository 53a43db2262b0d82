"""Many conversations proven at once, against each proven by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.chat.layout import Unproven, end_to_end
from tutelage.chat.renderer import Rendered, TrainOn
from tutelage.chat.verified import VerifiedRenderer, prove
from tutelage.records import Conversation, message

Make = Callable[..., VerifiedRenderer]
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


def test_a_mistake_in_one_of_many_is_caught(make: Make) -> None:
    renderer = make(CHATML, eos="<|im_end|>", kind="bytes")
    rows = [conversation([("ask é", "word")]), conversation([("b", "語 z")]), conversation([("a", "b"), ("c", "d")])]
    layout = end_to_end([renderer.template.lay_out(row, last=False) for row in rows])
    encoded = renderer.encoder.encode_end_to_end([renderer.template.lay_out(row, last=False).text for row in rows])
    assert encoded is not None
    alone = [one for made in renderer.render_rows(rows) if isinstance(made, list) for one in made]
    whole = Rendered(*(np.concatenate([getattr(one, name) for one in alone]) for name in ("ids", "weights", "roles")))
    prove(whole, layout, encoded, renderer.encoder, renderer.stop_ids)

    def refuses(wrong: Rendered, layout: Any = layout) -> None:
        with pytest.raises(Unproven, match="wrong rendering"):
            prove(wrong, layout, encoded, renderer.encoder, renderer.stop_ids)

    for token in range(len(whole.ids)):
        weights = whole.weights.copy()
        weights[token] = 1 - weights[token]
        refuses(replace(whole, weights=weights))
        ids = whole.ids.copy()
        ids[token] = (ids[token] + 1) % renderer.tokenizer.vocab_size
        refuses(replace(whole, ids=ids))
    # A special token too many in one and too few in another, and one that begins where no token does.
    refuses(whole, replace(layout, specials_R=layout.specials_R + np.array([1, -1, 0])))
    refuses(whole, replace(layout, rows_R=layout.rows_R + np.array([0, 1, 0])))
