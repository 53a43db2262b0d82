from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.chat.formats.tasks import (
    CHOICE_TEMPLATES,
    SHORT_TEMPLATES,
    is_question,
    is_target,
    read_question,
    read_target,
)
from tutelage.io.row import BrokenRow

PLANETS = ["Mars", "Venus", "Saturn"]


def texts(row: dict[str, Any]) -> tuple[str, str]:
    assert is_question(row)
    asked, answered = read_question(row).messages
    assert (asked.role, answered.role) == ("user", "assistant")
    return asked.text, answered.text


def test_an_answer_in_words_is_left_as_it_is() -> None:
    assert texts({"question": "1 + 1?", "answer": "1 + 1 = <<1+1=2>>2\n#### 2"}) == (
        "1 + 1?",
        "1 + 1 = <<1+1=2>>2\n#### 2",
    )
    assert texts({"Body": "Two apples.", "Question": "How many?", "Answer": "2"}) == ("Two apples.\n\nHow many?", "2")
    assert texts({"problem": "x = ?", "answer": "2", "solution": "It is 2."}) == ("x = ?", "2")
    squad = {
        "context": "Ada, 1815.",
        "question": "Born?",
        "answers": {"text": ["1815", "in 1815"], "answer_start": [5]},
    }
    assert texts(squad)[0].count("Ada, 1815.\n\nBorn?") == 1


@given(st.text(min_size=1), st.integers(0, 2))
def test_every_choice_is_shown_and_the_right_one_answered(question: str, right: int) -> None:
    row = {"question": question, "choices": PLANETS, "answer": right}
    asked, answered = texts(row)
    assert question.strip().removeprefix("Question:").strip() in asked
    assert all(planet in asked for planet in PLANETS)
    letter = "ABC"[right]
    assert answered in (letter, PLANETS[right], f"{letter}. {PLANETS[right]}", f"The best answer is {letter}.")
    if PLANETS[right] not in answered:
        assert f"{letter}. {PLANETS[right]}" in asked
    assert texts(row) == (asked, answered)


def test_all_templates_are_used() -> None:
    for templates, row in ((CHOICE_TEMPLATES, {"choices": PLANETS, "answer": 0}), (SHORT_TEMPLATES, {"answer": 14.0})):
        asked = {texts({"question": f"{number}", **row})[0].replace(f"{number}", "Q", 1) for number in range(100)}
        assert len(asked) == len(templates)


@pytest.mark.parametrize(
    "row",
    [
        {"choices": PLANETS, "answer": 1},
        {"choices": PLANETS, "answer": "Venus"},
        {"choices": PLANETS, "answer": "B"},
        {"options": PLANETS, "gold": 1},
        {"choices": {"text": PLANETS, "label": ["1", "2", "3"]}, "answerKey": "2"},
    ],
)
def test_the_right_choice_is_named_in_any_way(row: dict[str, Any]) -> None:
    expected = texts({"question": "Which is hot?", "choices": PLANETS, "answer": 1})
    assert texts({"question": "Which is hot?", **row}) == expected


def test_choices_in_one_text() -> None:
    row = {"question": "Hot?", "options": "A) Mars B) Venus", "Answer": "B"}
    assert texts(row) == ("Hot?\n\nA) Mars B) Venus\n\nAnswer with the letter of the right choice.", "B")


@pytest.mark.parametrize(("answer", "written"), [(14.0, "14"), (0.5, "0.5"), (7, "7"), (True, "Yes"), (False, "No")])
def test_a_short_answer_is_asked_for(answer: object, written: str) -> None:
    asked, answered = texts({"question": "How {many}?", "answer": answer})
    assert "How {many}?" in asked
    assert answered in (written, f"The answer is {written}.")
    assert asked != "How {many}?" or answered != written


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"choices": PLANETS, "answer": 3}, r"an answer that is none of the choices \(3 of 3\)"),
        ({"choices": PLANETS, "answer": "Pluto"}, "an answer that is none of the choices"),
        ({"choices": PLANETS, "answer": True}, "an answer that is none of the choices"),
        ({"choices": [], "answer": 0}, "malformed choices"),
        ({"choices": [1, 2], "answer": 0}, "malformed choices"),
        ({"answer": []}, "no answer"),
        ({"answers": {"text": []}}, "no answer"),
        ({"context": 3, "answer": "x"}, r"field that is not text \('context'\)"),
    ],
)
def test_a_broken_task_is_named(row: dict[str, Any], problem: str) -> None:
    with pytest.raises(BrokenRow, match=problem):
        texts({"question": "?", **row})


@pytest.mark.parametrize(
    "row",
    [
        {"inputs": "One?", "targets": "1"},
        {"source": "One?", "target": "1"},
        {"input": "One?", "target": "1"},
        {"input": "One?", "output": "1", "source": "reddit"},
    ],
)
def test_a_task_in_words_is_left_as_it_is(row: dict[str, Any]) -> None:
    assert is_target(row)
    assert [turn.text for turn in read_target(row).messages] == ["One?", "1"]


def test_rows_that_are_no_task() -> None:
    assert not is_question({"question": [[{"role": "user"}]], "answer": "x"})
    assert not is_question({"question": "?", "answer": None})
    assert not is_target({"input": "One?", "output": None})
    with pytest.raises(BrokenRow, match=r"field that is not text \('inputs'\)"):
        read_target({"inputs": ["One?"], "targets": "1"})
