from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tutelage.cli import main
from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate.judge_figures import agreement_with_people, figures
from tutelage.evaluate.judge_pairs import AnswerRow, Judged, question, read_answers
from tutelage.evaluate.turn_answers import answer_turns
from tutelage.evaluate.turns import TurnQuestion, read_turn_questions
from tutelage.model.hub import load_model

Data = Callable[[str], Path]
pytestmark = pytest.mark.usefixtures("quiet")


def test_questions_of_fastchat_are_read_with_their_reference_answers(data: Data) -> None:
    folder = data("fastchat/vicuna_bench")
    found = read_turn_questions(folder / "question.jsonl", folder / "reference_answer" / "gpt-4.jsonl")
    assert len(found) == 80
    assert len({one.category for one in found.values()}) == 9
    assert sum(bool(one.reference) for one in found.values()) == 10
    assert found["61"].reference[0].startswith("Here's a simple C++ program")


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_answers_in_fastchats_form_get_question_category_and_reference(tmp_path: Path) -> None:
    asked = [{"question_id": 81, "category": "math", "turns": ["2 + 2?", "And 3 more?"]}]
    right = [{"question_id": 81, "choices": [{"turns": ["4", "7"]}]}]
    made = [{"question_id": 81, "model_id": "a", "choices": [{"index": 0, "turns": ["four", "seven"]}]}]
    questions = read_turn_questions(write(tmp_path / "q.jsonl", asked), write(tmp_path / "r.jsonl", right))
    (row,) = read_answers(write(tmp_path / "a.jsonl", made), questions).values()
    assert row == AnswerRow(
        "[Turn 1]\n2 + 2?\n\n[Turn 2]\nAnd 3 more?",
        "[Turn 1]\nfour\n\n[Turn 2]\nseven",
        "[Turn 1]\n4\n\n[Turn 2]\n7",
        "math",
    )
    text = question(row, row)[1]["content"]
    assert text.index("And 3 more?") < text.index("[Turn 2]\n7") < text.index("[Turn 2]\nseven")
    with pytest.raises(ValueError, match="lacks, such as '99'"):
        read_turn_questions(tmp_path / "q.jsonl", write(tmp_path / "r.jsonl", [{**right[0], "question_id": 99}]))
    with pytest.raises(ValueError, match="answers '99', which is no question"):
        read_answers(write(tmp_path / "a.jsonl", [{**made[0], "question_id": 99}]), questions)


def test_each_turn_is_asked_after_the_models_own_answers(tales_run: Any) -> None:
    chat = load_model(tales_run.folder / "chat")
    settings = SamplingSettings(max_tokens=12)
    both = TurnQuestion("both", ("who sees the cat?", "who hears the fox?"))
    alone = TurnQuestion("alone", ("who sees the cat?",))
    rows = {row["id"]: row for row in answer_turns(chat, [both, alone], settings)}
    assert len(rows["both"]["answers"]) == 2 and len(rows["alone"]["answers"]) == 1
    assert rows["both"]["answers"][0] == rows["alone"]["answers"][0]


def test_the_command_writes_what_the_judge_reads(tales_run: Any, tmp_path: Path) -> None:
    asked = [
        {"question_id": n, "category": "who", "turns": [f"who {verb} the cat?"]}
        for n, verb in enumerate(("sees", "hears"))
    ]
    path, out = write(tmp_path / "q.jsonl", asked), tmp_path / "answers.jsonl"
    arguments = ["answers", tales_run.folder / "chat", path, "--out", out, "--max-tokens", "8"]
    result = CliRunner().invoke(main, [*map(str, arguments)])
    assert result.exit_code == 0, result.output
    assert "2 answers" in result.output
    found = read_answers(out)
    assert list(found) == ["0", "1"] and found["0"].prompt == "who sees the cat?" and found["0"].category == "who"
    base = CliRunner().invoke(main, [*map(str, ["answers", tales_run.folder / "base", *arguments[2:]])])
    assert base.exit_code == 1 and "is a base model" in base.stderr


def judged(key: str, share: float, category: str) -> Judged:
    row = AnswerRow(key, "x", category=category)
    return Judged(key, row, row, (share, share), ("[[A]]", "[[A]]"))


def test_win_rates_by_category() -> None:
    pairs = [judged(f"{n}", float(n % 2), "math" if n < 4 else "writing") for n in range(6)]
    found = figures(pairs)
    assert {name: of["mean"] for name, of in found["categories"].items()} == {"math": 0.5, "writing": 0.5}
    assert "categories" not in figures(pairs[:4])


def test_pain_e24_a_judge_of_its_own_family_is_unmasked_by_people() -> None:
    """FastChat #3911: GPT-4's own answers win 87% with GPT-4 as the judge."""
    pairs = [judged(str(n), 1.0, "") for n in range(40)]
    people = {str(n): float(n % 2) for n in range(40)}
    favours = agreement_with_people(pairs, people)["favours"]
    assert favours["mean"] == 0.5 and favours["low"] > 0.3
    fair = agreement_with_people([judged(str(n), float(n % 2), "") for n in range(40)], people)
    assert fair["favours"]["mean"] == 0 and fair["accuracy"].rate == 1
