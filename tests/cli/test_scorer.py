"""`tutelage scorer` from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tutelage import progress
from tutelage.cli import main


@pytest.fixture(autouse=True)
def automatic_progress() -> Any:
    yield
    progress.set_mode("auto")


def typed(*arguments: object) -> Result:
    return CliRunner(env={"COLUMNS": "120"}).invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    rows = [{"text": f"{'light energy atom ' * (n % 6)}the boat {n} is blue", "score": n % 6} for n in range(120)]
    (tmp_path / "scores.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return tmp_path / "scores.jsonl"


def test_a_scorer_is_trained_and_reports_its_agreement(scores: Path, tmp_path: Path) -> None:
    result = typed("scorer", "--scores", scores, "--out", tmp_path / "edu.safetensors")
    assert result.exit_code == 0, result.output
    for words in (
        "trained on 120 texts",
        "Spearman correlation: 0.",
        "AUC: ",
        "F1 at threshold 3: ",
        "keeping everything: 0.667",
    ):
        assert words in result.stdout
    model = tmp_path / "edu.safetensors"
    assert result.stdout.endswith(f'quality = {{ kind = "distilled_score", model = "{model}" }}\n')
    assert (tmp_path / "edu.safetensors").exists()


def test_json_is_the_only_output(scores: Path, tmp_path: Path) -> None:
    result = typed("scorer", "--scores", scores, "--out", tmp_path / "edu.safetensors", "--threshold", 4, "--json")
    found = json.loads(result.stdout)
    assert (found["threshold"], found["score_counts"]) == (4, [20] * 6)
    assert found["auc"]["low"] <= found["auc"]["value"] <= found["auc"]["high"]


@pytest.mark.parametrize("given", [[], ["--positives", "a"], ["--scores", "a", "--negatives", "b"]])
def test_scores_and_classes_are_mutually_exclusive(tmp_path: Path, given: list[str]) -> None:
    result = typed("scorer", *given, "--out", tmp_path / "model")
    assert result.exit_code == 1
    assert result.stderr == ("tutelage: give either --scores, or both --positives and --negatives\n")


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ('{"text": "a", "score": 6}', "has the score 6; scores must be from 0 to 5"),
        ('{"text": "a"}', "has no numeric score; scores must be from 0 to 5"),
        ('{"text": "a", "score": "good"}', "has no numeric score; scores must be from 0 to 5"),
        ("no row", "rows cannot be read"),
    ],
)
def test_scores_that_cannot_be_used_are_named(tmp_path: Path, row: str, sentence: str) -> None:
    (tmp_path / "scores.jsonl").write_text(row + "\n", encoding="utf-8")
    result = typed("scorer", "--scores", tmp_path / "scores.jsonl", "--out", tmp_path / "model")
    assert result.exit_code == 1
    assert result.stderr.startswith("tutelage: scores: ")
    assert sentence in result.stderr
