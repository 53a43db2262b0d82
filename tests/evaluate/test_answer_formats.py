from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tutelage.cli import main
from tutelage.evaluate import answer_formats
from tutelage.evaluate.answer_formats import WORDINGS, answer_format_range, reworded
from tutelage.evaluate.questions import Answered, Question
from tutelage.records import Conversation, message

pytestmark = pytest.mark.usefixtures("quiet")
QUESTIONS = [
    Question(str(n), Conversation((message("system", "S"), message("user", f"Who is {n}?")), str(n)), "x", "exact")
    for n in range(8)
]


def test_each_wording_keeps_the_question_and_its_other_turns() -> None:
    texts = [reworded(QUESTIONS[0], wording).prompt.messages for wording in WORDINGS]
    assert all(messages[0].text == "S" and "Who is 0" in messages[1].text for messages in texts)
    assert len({messages[1].text for messages in texts}) == len(WORDINGS)
    assert texts[0] == QUESTIONS[0].prompt.messages


def test_pain_e8_a_model_that_needs_one_wording_is_unmasked(monkeypatch: pytest.MonkeyPatch) -> None:
    """open-instruct PR 259: the format alone moved MATH from .168 to .015."""

    def answers(checkpoint: Any, questions: Sequence[Question], system: str) -> list[Answered]:
        right = ["Question:" not in one.prompt.messages[-1].text for one in questions]
        return [Answered(one, "", "right" if ok else "wrong") for one, ok in zip(questions, right, strict=True)]

    monkeypatch.setattr(answer_formats, "answer_questions", answers)
    found = answer_format_range(None, QUESTIONS, "", answers(None, QUESTIONS, ""))  # type: ignore[arg-type]
    assert (found["low"], found["median"], found["high"]) == (0, 1, 1)
    assert found["changed"]["rate"] == 1
    assert len(found["formats"]) == len(WORDINGS)


def test_the_command_measures_it_or_says_that_it_did_not(tales_run: Any, tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text(json.dumps({"question": "who sees the cat?", "answer": "the cat"}))
    arguments = ["evaluate", str(tales_run.folder / "chat"), "--suite", str(path)]
    assert "format range not measured" in CliRunner().invoke(main, arguments).output
    refused = CliRunner().invoke(main, ["evaluate", str(tales_run.folder / "chat"), "--formats"])
    assert refused.exit_code == 1 and "--formats is for --suite" in refused.stderr
