"""The verifiers exact, contains and regex."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.scoring.contains import contains
from tutelage.scoring.exact import exact
from tutelage.scoring.extract import comparable, marked_result, normalise, visible
from tutelage.scoring.regex import regex


@pytest.mark.parametrize(
    ("answer", "gold", "outcome"),
    [
        ("Paris", "paris", "right"),
        ("The Paris.", "Paris", "right"),
        ("So the answer is False.", "False", "right"),
        ("The answer is syndrome therefrom.", "syndrome therefrom", "right"),
        ("True is not it. The answer is False", "True", "wrong"),
        ("1,000", "1000", "right"),
        ("5", "-5", "wrong"),
        ("C", "C++", "wrong"),
        ("C#", "C++", "wrong"),
        ("( [ ]", "( [", "wrong"),
        (") ]", ") ]", "right"),
        ("", "Paris", "unparsable"),
        ("<think>Paris", "Paris", "unparsable"),
        ("I don't know", "Paris", "abstained"),
        ("I don't know", "I don't know", "right"),
        ("London\n\nQuestion: what else?\nAnswer: Paris", "Paris", "wrong"),
    ],
)
def test_exact(answer: str, gold: str, outcome: str) -> None:
    assert exact(answer, gold).outcome == outcome


@pytest.mark.parametrize(
    ("answer", "gold", "outcome"),
    [
        ("It is in Paris, France.", "Paris", "right"),
        ("INCORRECT", "CORRECT", "wrong"),  # taosmd PR 176: 77 became 33
        ("It is New York City", "York", "right"),
        ("It is in Lyon.", "Paris", "wrong"),
        ("I have no idea.", "Paris", "abstained"),
        ("", "Paris", "unparsable"),
        ("rock&roll", "Rock and Roll", "right"),
    ],
)
def test_contains(answer: str, gold: str, outcome: str) -> None:
    assert contains(answer, gold).outcome == outcome


def test_contains_with_a_closed_set_refuses_an_answer_that_lists_it() -> None:
    others = ["Paris", "Lyon", "New York", "York"]
    assert contains("Paris or Lyon", "Paris").outcome == "right"
    assert contains("Paris or Lyon", "Paris", others=others).outcome == "wrong"
    assert contains("In Paris", "Paris", others=others).outcome == "right"
    assert contains("In New York", "York", others=others).outcome == "wrong"
    assert contains("In New York", "York", others=others).extracted == "new york"


def test_contains_needs_a_gold_with_letters() -> None:
    for gold in ("+", "", []):
        with pytest.raises(ValueError, match="gold answer"):
            contains("+", gold)


def test_regex_takes_the_last_match_and_its_group() -> None:
    pattern = r"final: (\w+)"
    assert regex("final: a, then final: b", "b", pattern=pattern).outcome == "right"
    assert regex("final: a, then final: b", "a", pattern=pattern).outcome == "wrong"
    assert regex("b", "b", pattern=pattern).outcome == "unparsable"
    assert regex("I cannot say", "b", pattern=pattern).outcome == "abstained"
    assert regex("x 12 y", "12", pattern=r"\d+").extracted == "12"


@given(st.text(), st.text(min_size=1).filter(str.strip))
def test_an_answer_that_is_the_gold_is_never_wrong(before: str, gold: str) -> None:
    if visible(gold) == gold.strip() and marked_result(gold) is None:
        assert exact(gold, gold).outcome == "right"
        if normalise(gold):
            assert contains(gold, gold).outcome == "right"
    assert exact(before, gold).outcome in ("right", "wrong", "unparsable", "abstained")


@given(st.text())
def test_comparable_is_idempotent_for_numbers(text: str) -> None:
    once = comparable(text)
    try:
        float(once)
    except ValueError:
        return
    assert comparable(once) == once


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("no result", None),
        ("#### 72", "72"),
        ("work\n#### 72 eggs", "72 eggs"),
        ("work\n#### Paris", "Paris"),
        ("#### Paris\nis a city", None),
        ("#### 5\n#### 6", "5"),
        (r"\boxed{a{b}c} and more", "a{b}c"),
        ("The answer is 4:30 p.m. today", "4:30 p.m"),
        ("the answer would be: x", "x"),
        ("Answers are a, b", "a, b"),
        ("A: 18", "18"),
        ("A: 5\nB: 6", None),
        ("The answer is", None),
    ],
)
def test_marked_results(text: str, result: str | None) -> None:
    assert marked_result(text) == result
