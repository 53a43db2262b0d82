from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.chat.audit.claims import REFUSED, Decided, candidates, claim, contradict, contradicting

QUESTION = "How many are there?"


@pytest.mark.parametrize(
    ("said", "decides"),
    [
        ("They are 6 times 12.\n#### 72", "72.0"),
        ("Hence \\boxed{1,024}.", "1024.0"),
        ("So the answer is Paris.", "paris"),
        ("Yes, they are all here, every one of them that was seen.", "yes"),
        ("No.", "no"),
        ("The Hague", "hague"),
        ("$72", "72.0"),
        ("No problem at all, they are here, every one of them that was seen!", ""),
        ("There are many ways to count them, and it depends on the weather.", ""),
        ("", ""),
    ],
)
def test_what_answers_decide(said: str, decides: str) -> None:
    assert claim(said, QUESTION) == decides


def test_what_is_made_up_decides_nothing() -> None:
    for asked in ("Write a title for the tale.", "Suggest a name for my cat", "Give me a random number", "取名"):
        assert claim("Nightfall", asked) == ""
        assert claim("#### 72", asked) == "72.0"


@pytest.mark.parametrize(
    ("one", "other", "fight"),
    [
        ("yes", "no", True),
        ("72.0", "73.0", True),
        ("paris", "paris, france", False),
        ("paris", "parish", True),
        ("", "paris", False),
        ("", REFUSED, True),
        ("paris", "paris", False),
    ],
)
def test_which_decisions_cannot_both_be_right(one: str, other: str, fight: bool) -> None:
    assert contradict(one, other) is contradict(other, one) is fight


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2)), max_size=12))
def test_candidates_are_the_contexts_with_several_decisions(answers: list[tuple[int, int]]) -> None:
    contexts, claims = (
        (np.array(column, np.int64) for column in zip(*answers, strict=True))
        if answers
        else ((np.empty(0, np.int64),) * 2)
    )
    found = candidates(Decided(np.arange(len(answers)), contexts, claims))
    groups = {context: [place for place, one in enumerate(answers) if one[0] == context] for context, _ in answers}
    assert found == {
        c: places for c, places in groups.items() if len({answers[place][1] for place in places} - {0}) > 1
    }


def test_only_those_that_fight_are_named() -> None:
    told = ["yes", "", "no", "yes", "paris", "paris, france"]
    assert contradicting([[0, 1, 2, 3], [4, 5]], told.__getitem__) == [[0, 2, 3]]
