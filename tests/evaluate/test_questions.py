from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tutelage.cli import main
from tutelage.engine.requests import Generation
from tutelage.evaluate import questions
from tutelage.evaluate.answers import Answer
from tutelage.evaluate.questions import CHOOSE, Question, answer_questions, question_rates, read_questions
from tutelage.evaluate.suites import SUITES
from tutelage.model.hub import load_model
from tutelage.recipe import load_recipe
from tutelage.records import Conversation
from tutelage.report.compare import compare
from tutelage.report.page import write_report
from tutelage.runner import Run


def write(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "questions.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_each_row_says_how_it_is_asked_and_scored(tmp_path: Path) -> None:
    turns = [{"role": "system", "content": "Short."}, {"role": "user", "content": "Name?"}]
    path = write(
        tmp_path,
        {"question": "When do you open?", "answer": ["nine", "9"], "set": "hours", "note": "a field of the user's"},
        {"question": "2 + 2?", "answer": 4},
        {"question": "Which?", "choices": ["Mars", "Venus"], "answer": 1, "id": "planet"},
        {"question": "Which?", "choices": ["Mars", "Venus"], "answer": "Mars", "id": "planet"},
        {"question": turns, "answer": "Wren", "verifier": "exact", "system": "not needed"},
        {"question": "Key?", "answer": "AB12", "verifier": {"kind": "regex", "pattern": "<(.*)>"}},
    )
    found = read_questions(path)
    assert [one.verifier for one in found] == ["contains", "numeric", "choice", "choice", "exact", found[5].verifier]
    assert [one.gold for one in found[:4]] == [["nine", "9"], 4, "B", "A"]
    assert found[2].prompt.messages[-1].text == f"Which?\n\nA. Mars\nB. Venus\n\n{CHOOSE}"
    assert [message.text for message in found[4].prompt.messages] == ["Short.", "Name?"]
    assert [one.id for one in found] == [
        "questions.jsonl:1",
        "questions.jsonl:2",
        "planet",
        "planet:2",
        "questions.jsonl:5",
        "questions.jsonl:6",
    ]


@pytest.mark.parametrize(
    ("row", "error"),
    [
        ({"question": "Why?"}, "missing required field `answer`"),
        ({"question": " ", "answer": "x"}, "the question is empty"),
        ({"question": "Why?", "answer": ""}, "the gold answer '' is empty"),
        ({"question": "Why?", "answer": "x", "verifier": "exakt"}, "'exakt' is no verifier"),
        ({"question": "Why?", "answer": "Pluto", "choices": ["Mars", "Venus"]}, "is none of the 2 choices"),
        ({"context": "She said", "continuation": "no"}, "it has a continuation and no question"),
        ({"question": "Why?", "answer": "abc", "verifier": "numeric"}, "abc"),
    ],
)
def test_a_row_that_cannot_be_scored_is_named(tmp_path: Path, row: dict[str, Any], error: str) -> None:
    path = write(tmp_path, {"question": "Good?", "answer": "yes"}, row)
    with pytest.raises(ValueError, match=r"questions.jsonl:2: .*") as raised:
        read_questions(path)
    assert error in str(raised.value)


def test_an_answer_that_was_cut_is_not_wrong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    texts = {
        "a?": ("nine o'clock", "stop"),
        "b?": ("ten", "stop"),
        "c?": ("it is nine", "length"),
        "d?": ("it", "length"),
    }
    asked: list[Conversation] = []

    def answer(checkpoint: Any, prompts: Sequence[Conversation], *rest: Any) -> list[Answer]:
        asked.extend(prompts)
        made = [texts[prompt.messages[-1].text] for prompt in prompts]
        return [Answer(text, Generation(finish_reason=reason)) for text, reason in made]  # type: ignore

    monkeypatch.setattr(questions, "ask", answer)
    rows = [{"question": name, "answer": "nine", "set": "hours" if name < "c" else ""} for name in texts]
    found = answer_questions(None, read_questions(write(tmp_path, *rows)), "Be short.")  # type: ignore[arg-type]
    assert [one.outcome for one in found] == ["right", "wrong", "right", "cut off"]
    assert {prompt.messages[0].text for prompt in asked} == {"Be short."}
    rates = question_rates(found)
    assert {name: (rate.rate, rate.count) for name, rate in rates.items()} == {
        "right": (0.5, 4),
        "wrong": (0.25, 4),
        "cut_off": (0.25, 4),
        "sets.hours": (0.5, 2),
    }


def test_a_recipe_scores_its_stage_and_two_runs_are_compared_question_by_question(
    tales: Path, tales_run: Run, tmp_path: Path
) -> None:
    """Field failure: there was no evaluation of one's own."""
    model = load_model(tales_run.folder / "chat")
    prompts = ["who sees the cat?", "who hears the fox?", "who sees the dog?"]
    rows = [{"question": prompt, "answer": "the owl", "id": prompt} for prompt in prompts]
    path = write(tmp_path, *rows)
    wanted = Counter(one.outcome for one in answer_questions(model, read_questions(path)))
    overrides = ["data.mine.kind=questions", f"data.mine.path='{path}'", "evaluate.chat=['questions']"]
    run = Run(load_recipe(tales, overrides), tales_run.folder)
    results = SUITES["questions"].run(run.session("chat"))
    assert results.rates["right"].rate == wanted["right"] / 3
    assert "before.right" not in results.rates  # a base model answers no questions
    assert {sample["id"] for sample in results.samples} == set(prompts)
    run.evaluate("chat")
    try:
        paired = compare(run.folder / "chat", run.folder / "chat")["stages"]["chat"]["rates"]["questions.right"][
            "paired"
        ]
        assert paired["count"] == 3
        assert "Questions of your own" in write_report(run).read_text()
    finally:
        (run.folder / "chat" / "evaluate" / "questions.json").unlink()


def test_the_command_scores_any_model(tales_run: Run, tmp_path: Path) -> None:
    path = write(tmp_path, {"question": "who sees the cat?", "answer": "the owl"})
    found = CliRunner().invoke(main, ["evaluate", str(tales_run.folder / "chat"), "--suite", str(path), "--json"])
    assert found.exit_code == 0, found.output
    result = json.loads(found.stdout)
    assert result["rates"]["right"]["count"] == 1
    assert [item["id"] for item in result["items"]] == ["questions.jsonl:1"]
    refused = CliRunner().invoke(main, ["evaluate", str(tales_run.folder / "base"), "--suite", str(path)])
    assert refused.exit_code == 1
    assert "is a base model and answers no questions" in refused.output


def test_ids_name_the_question_and_not_its_place(tmp_path: Path) -> None:
    found = read_questions(write(tmp_path, {"question": "a?", "answer": "x", "id": "first"}))
    assert found == [Question("first", found[0].prompt, "x", "contains")]
