from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.chat.audit.checks.contradiction import candidates, contradict, contradicting
from tutelage.chat.audit.final_answers import REFUSED, AnswerIndex, final_answer

QUESTION = "How many are there?"


@pytest.mark.parametrize(
    ("answer", "expected"),
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
def test_final_answers(answer: str, expected: str) -> None:
    assert final_answer(answer, QUESTION) == expected


def test_short_answers_to_open_ended_prompts_are_not_final() -> None:
    for question in ("Write a title for the tale.", "Suggest a name for my cat", "Give me a random number", "取名"):
        assert final_answer("Nightfall", question) == ""
        assert final_answer("#### 72", question) == "72.0"


@pytest.mark.parametrize(
    ("first", "second", "expected"),
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
def test_which_final_answers_contradict(first: str, second: str, expected: bool) -> None:
    assert contradict(first, second) is contradict(second, first) is expected


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2)), max_size=12))
def test_candidates_are_the_contexts_with_several_final_answers(answers: list[tuple[int, int]]) -> None:
    contexts, hashes = (
        (np.array(column, np.int64) for column in zip(*answers, strict=True))
        if answers
        else ((np.empty(0, np.int64),) * 2)
    )
    index = AnswerIndex(np.arange(len(answers)), contexts, hashes)
    groups = {context: [n for n, answer in enumerate(answers) if answer[0] == context] for context, _ in answers}
    assert candidates(index) == {
        c: places for c, places in groups.items() if len({answers[place][1] for place in places} - {0}) > 1
    }


def test_only_contradicting_answers_are_kept() -> None:
    answers = ["yes", "", "no", "yes", "paris", "paris, france"]
    assert contradicting([[0, 1, 2, 3], [4, 5]], answers.__getitem__) == [[0, 2, 3]]
