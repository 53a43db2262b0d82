from __future__ import annotations

import pytest

from tutelage.annotate.events import PromptTurn
from tutelage.annotate.items import make_item, masked_answers
from tutelage.annotate.masking import MASK, mask_names

MODELS = ["runs/tales/sft@200", "chat", "GPT-4"]


@pytest.mark.parametrize(
    ("answer", "masked"),
    [
        ("I am GPT-4, a language model.", f"I am {MASK}, a language model."),
        ("As gpt 4 I cannot do that.", f"As {MASK} I cannot do that."),
        ("From runs/tales/sft@200 with love", f"From {MASK} with love"),
        ("sft@200 wrote this", f"{MASK} wrote this"),
        ("I am chat.", f"I am {MASK}."),
        ("I am Claude, an AI assistant made by Anthropic.", f"I am {MASK}, an AI assistant made by {MASK}."),
    ],
)
def test_names_are_masked(answer: str, masked: str) -> None:
    assert mask_names("Who are you?", answer, MODELS) == (masked, True)


@pytest.mark.parametrize("answer", ["We chat a lot.", "GPT-40 is no model.", "The sea is salty.", ""])
def test_other_words_are_left(answer: str) -> None:
    assert mask_names("What is the sea?", answer, MODELS) == (answer, False)


def test_equal_answers_are_one_and_keep_all_their_models() -> None:
    item = make_item([PromptTurn("user", "a?")], ["x", "y", "x"], ["m1", "m2", "m3"], [1, 2, 1])
    assert item.answers == ("x", "y")
    assert item.models == (("m1", "m3"), ("m2",))
    assert item.gold == (1, 2)
    assert masked_answers(item) == ["x", "y"]
