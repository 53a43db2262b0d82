from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.scoring.choice import choice


@pytest.mark.parametrize(
    "answer",
    [
        "B", "(B)", "B.", "B)", "B) the dog", "B: the dog", " B\n", "**B**", "**B.** the dog", "Option B", "(b)",
        "The answer is B.", "The answer is (B).", "So the answer is (b).", "answer: B", "ANSWER: B", "**Answer:** B",
        "Answer:\nB", "The correct answer is: **(B) 01/03/1963**", r"\boxed{B}", r"$\boxed{\text{(B)}}$", "[[B]]",
        "I think option B is right.", "A dog runs. The correct choice is B", "Only (B) holds, since (B) is the larger.",
        "<think>The answer is A</think>B", "[[A]] at first, but then [[B]]", "The answer is A. No: the answer is B.",
    ],
)  # fmt: skip
def test_letters(answer: str) -> None:
    assert choice(answer, "B") == choice(answer, "(B)")
    assert (choice(answer, "B").outcome, choice(answer, "B").extracted) == ("right", "B")
    assert choice(answer, "A").outcome == "wrong"
    assert choice(answer, ["A", "B"]).outcome == "right"


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "A dog runs",
        "I like it",
        "I, for one, like it",
        "(b) first, then (a)",
        "The answer is a dog.",
        "B or C",
        "The answer is B or C.",
        "(A) and (B) are both possible",
        "Because",
        "It's between (A), (B)",
        "<think>B",
        "BC",
        "B-tree",
    ],
)
def test_no_single_letter(answer: str) -> None:
    assert choice(answer, "B").outcome == "unparsable"


def test_not_knowing_abstains() -> None:
    assert choice("I do not know.", "B").outcome == "abstained"
    assert choice("I am not sure, but the answer is B", "B").outcome == "right"


def test_the_last_verdict_counts_fastchat_3921() -> None:
    assert choice("If it were [[A]] ... The verdict is [[B]]", "B").outcome == "right"


def test_gold_that_is_no_letter_is_refused() -> None:
    for gold in ("the dog", "1", "", []):
        with pytest.raises(ValueError, match="gold answer"):
            choice("B", gold)


@given(st.text())
def test_no_answer_raises(answer: str) -> None:
    assert choice(answer, "B").outcome in ("right", "wrong", "unparsable", "abstained")
