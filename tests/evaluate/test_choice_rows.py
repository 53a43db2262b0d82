"""Rows of multiple choice in the forms in which the sets were published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tutelage.evaluate.choice_items import read_choice_items
from tutelage.evaluate.choice_rows import ChoiceFields, choice_fields, is_choice_row
from tutelage.evaluate.questions import read_questions

LABELLED = {"text": ["sun", "moon"], "label": ["A", "B"]}
PUBLISHED: dict[str, tuple[dict[str, Any], ChoiceFields]] = {
    "llm-foundry": (
        {"query": "Q: Hot?\n", "choices": ["sun", "moon"], "gold": 0},
        ChoiceFields("Q: Hot?", ("sun", "moon"), 0),
    ),
    "letters of a list": (
        {"query": "Q: Hot?\nChoices:\nA. sun\nB. moon\nAnswer:", "choices": ["A", "B"], "gold": 1},
        ChoiceFields("Q: Hot?", ("sun", "moon"), 1),
    ),
    "letters of a list, another form": (
        {"query": "Hot?\nA) sun\nB) moon\nAnswer: ", "choices": ["A", "B"], "gold": 0},
        ChoiceFields("Hot?", ("sun", "moon"), 0),
    ),
    "arc": ({"question": "Hot?", "choices": LABELLED, "answerKey": "B"}, ChoiceFields("Hot?", ("sun", "moon"), 1)),
    "arc, labels 1 and 2": (
        {"question": "Hot?", "choices": {"text": ["sun", "moon"], "label": ["1", "2"]}, "answerKey": "1"},
        ChoiceFields("Hot?", ("sun", "moon"), 0),
    ),
    "ai2": (
        {
            "question": {"stem": "Hot?", "choices": [{"text": "sun", "label": "A"}, {"text": "moon", "label": "B"}]},
            "answerKey": "A",
        },
        ChoiceFields("Hot?", ("sun", "moon"), 0),
    ),
    "obqa": (
        {"question_stem": "Hot is", "choices": LABELLED, "answerKey": "A"},
        ChoiceFields("Hot is", ("sun", "moon"), 0),
    ),
    "piqa": (
        {"goal": "Boil", "sol1": "Heat.", "sol2": "Cool.", "label": 1},
        ChoiceFields("Boil", ("Heat.", "Cool."), 1),
    ),
    "siqa": (
        {"context": "Al left.", "question": "Why?", "answerA": "a", "answerB": "b", "answerC": "c", "label": "3"},
        ChoiceFields("Al left. Why?", ("a", "b", "c"), 2),
    ),
    "copa": (
        {"premise": "It fell.", "choice1": "It broke.", "choice2": "It flew.", "question": "effect", "label": 0},
        ChoiceFields("It fell therefore", ("it broke.", "it flew."), 0),
    ),
    "winogrande": (
        {"sentence": "Al saw Bo, so _ hid.", "option1": "Al", "option2": "Bo", "answer": "2"},
        ChoiceFields("hid.", ("Al saw Bo, so Al", "Al saw Bo, so Bo"), 1, beginnings=True),
    ),
    "hellaswag": (
        {"ctx": "She [header] runs", "endings": ["away.", "home."], "label": "1", "activity_label": "Sport"},
        ChoiceFields("Sport: She runs", ("away.", "home."), 1),
    ),
    "boolq": (
        {"passage": "It is hot.", "question": "is it hot", "answer": True},
        ChoiceFields("It is hot.\nQuestion: is it hot?", ("no", "yes"), 1),
    ),
    "mmlu": (
        {"question": "Z_3?", "choice0": "0", "choice1": "1", "choice2": "2", "choice3": "3", "answer": "1"},
        ChoiceFields("Z_3?", ("0", "1", "2", "3"), 1),
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_form_is_read(name: str) -> None:
    row, fields = PUBLISHED[name]
    assert is_choice_row(row)
    assert choice_fields(row) == fields


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"goal": "Boil", "sol1": "Heat.", "sol2": "Cool."}, "the answer None is none of the 2 choices"),
        ({"sentence": "No gap.", "option1": "a", "option2": "b", "answer": "1"}, "'sentence' needs a '_'"),
        ({"sentence": "A _ gap.", "option1": "a", "option2": "b", "answer": "3"}, "must be a number from 1 to 2"),
        ({"premise": "It fell.", "choice1": "a", "choice2": "b", "question": "why", "label": 0}, "'cause' or 'effect'"),
        ({"passage": "Hot.", "question": "hot", "answer": "maybe"}, "'answer' must be true or false"),
    ],
)
def test_a_broken_row_says_what_is_wrong(row: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        choice_fields(row)


def test_both_readers_read_the_same_forms(tmp_path: Path) -> None:
    """Field failure: rows that one command read were broken for another."""
    questions = {name: row for name, (row, fields) in PUBLISHED.items() if not fields.beginnings}
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(json.dumps({**row, "id": name}) for name, row in questions.items()))
    by_likelihood, by_answer = read_choice_items(file), read_questions(file)
    assert [item.id for item in by_likelihood] == [question.id for question in by_answer] == list(questions)
    assert ["AB".index(str(question.gold)) for question in by_answer[:3]] == [item.gold for item in by_likelihood[:3]]
