"""Questions of the user's own beside the rows that the stage was trained on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from tutelage.evaluate.questions import Question
from tutelage.evaluate.results import Results
from tutelage.evaluate.session import EvalSession, PromptData
from tutelage.evaluate.suites import questions
from tutelage.records import Conversation, message
from tutelage.report.read import QuestionSample

pytestmark = pytest.mark.usefixtures("quiet")
TRAINED = "who hears the owl and the hen that the fox likes"
OTHER = "who likes the dog that the cat sees when the owl hears"


def question(name: str, text: str) -> Question:
    return Question(name, Conversation((message("user", f"{text}?"),), name), "the cat", "contains")


def evaluate(tales_run: Any, training: Iterable[tuple[str, str]], *asked: Question) -> Results:
    folders = {"model": tales_run.folder / "chat", "parent": tales_run.folder / "base"}
    session = EvalSession(
        name="chat",
        folders=folders,  # type: ignore[arg-type]
        has=frozenset({"chat", "questions"}),
        read_prompts=lambda: PromptData({}),
        open_questions=lambda: asked,
        open_training=lambda: training,
    )
    return questions.run(session)


def test_pain_e34_questions_that_stand_in_a_training_row_are_scored_apart(tales_run: Any) -> None:
    asked = question("a", TRAINED), question("b", OTHER)
    found = evaluate(tales_run, [("chat.jsonl:3", f"{TRAINED.upper()}?\nthe cat.")], *asked)
    assert (found.rates["dirty"].count, found.rates["clean"].count) == (1, 1)
    assert found.figures["contamination"] == {"dirty": 1, "unmatchable": 0, "texts": 1}
    by_id = {row["id"]: row for row in found.samples}
    assert by_id["a"]["found_in"].startswith("chat.jsonl:3: ")
    assert "found_in" not in by_id["b"]
    assert QuestionSample(**by_id["a"]).found_in


def test_without_a_match_nothing_is_split(tales_run: Any) -> None:
    found = evaluate(tales_run, [("chat.jsonl:3", "the hen hears the dog.")], question("a", TRAINED))
    assert "dirty" not in found.rates and found.figures["contamination"]["dirty"] == 0
    short = evaluate(tales_run, [("chat.jsonl:3", "x")], question("a", "who is it"))
    assert "contamination" not in short.figures
    same = [question(str(number), TRAINED) for number in range(12)]
    boilerplate = evaluate(tales_run, [("chat.jsonl:3", TRAINED)], *same)
    assert boilerplate.figures["contamination"]["unmatchable"] == 12
