"""The verbs that make models of quality, as they are typed."""

from __future__ import annotations

import importlib.util
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


def test_a_scorer_is_made_and_says_what_it_is_worth(scores: Path, tmp_path: Path) -> None:
    result = typed("scorer", "--scores", scores, "--out", tmp_path / "edu.safetensors")
    assert result.exit_code == 0, result.output
    for words in (
        "learned from 120 texts",
        "(Spearman): 0.",
        "(AUC): ",
        "kept from 3 on (F1): ",
        "everything kept: 0.667",
    ):
        assert words in result.stdout
    assert result.stdout.endswith(f'quality = {{ kind = "judged", model = "{tmp_path / "edu.safetensors"}" }}\n')
    assert (tmp_path / "edu.safetensors").exists()


def test_json_is_all_there_is(scores: Path, tmp_path: Path) -> None:
    result = typed("scorer", "--scores", scores, "--out", tmp_path / "edu.safetensors", "--at-least", 4, "--json")
    found = json.loads(result.stdout)
    assert (found["threshold"], found["scores"]) == (4, [20] * 6)
    assert found["area"]["low"] <= found["area"]["value"] <= found["area"]["high"]


@pytest.mark.parametrize("given", [[], ["--positives", "a"], ["--scores", "a", "--negatives", "b"]])
def test_a_scorer_learns_from_one_thing(tmp_path: Path, given: list[str]) -> None:
    result = typed("scorer", *given, "--out", tmp_path / "model")
    assert result.exit_code == 1
    assert result.stderr == (
        "tutelage: a scorer learns from --scores, or from --positives and --negatives; give one or the other\n"
    )


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ('{"text": "a", "score": 6}', "has the score 6; scores are from 0 to 5"),
        ('{"text": "a"}', "has no score that is a number; scores are from 0 to 5"),
        ('{"text": "a", "score": "good"}', "has no score that is a number; scores are from 0 to 5"),
        ("no row", "rows cannot be read"),
    ],
)
def test_scores_that_cannot_be_used_are_named(tmp_path: Path, row: str, sentence: str) -> None:
    (tmp_path / "scores.jsonl").write_text(row + "\n", encoding="utf-8")
    result = typed("scorer", "--scores", tmp_path / "scores.jsonl", "--out", tmp_path / "model")
    assert result.exit_code == 1
    assert result.stderr.startswith("tutelage: scores: ")
    assert sentence in result.stderr


def test_a_judge_without_its_key_is_a_sentence_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "pages.txt").write_text("A page.", encoding="utf-8")
    where = ("--url", "https://judge.invalid/v1", "--model", "m", "--out", tmp_path / "scores.jsonl")
    result = typed("judge", tmp_path / "pages.txt", *where, "--key-variable", "sk-0123456789abcdef")
    assert result.exit_code == 1
    assert "give the name, never the key itself" in result.stderr
    assert "sk-0123" not in result.output
    assert not list(tmp_path.glob("scores*"))


@pytest.fixture
def endpoint() -> Any:
    """A running endpoint that judges by a rule: see tests/client/endpoint.py."""
    path = Path(__file__).parents[1] / "client" / "endpoint.py"
    spec = importlib.util.spec_from_file_location("endpoint", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with module.Endpoint() as running:
        yield running


def test_a_judge_is_asked_as_one_says(endpoint: Any, tmp_path: Path) -> None:
    (tmp_path / "pages.jsonl").write_text('{"text": "an atom of light"}\n{"text": "a boat"}\n', encoding="utf-8")
    (tmp_path / "rubric.txt").write_text("A point for each word about physics.", encoding="utf-8")
    where = ("--url", endpoint.url, "--model", "m", "--out", tmp_path / "scores.jsonl", "--json")
    given = (
        "--rubric",
        tmp_path / "rubric.txt",
        "--request",
        "max_completion_tokens=900",
        "--request",
        "temperature=1",
    )
    result = typed("judge", tmp_path / "pages.jsonl", *where, *given)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["scores"], found["usage"]["requests"]) == ([1, 0, 1, 0, 0, 0], 2)
    for body in endpoint.seen:
        prompt = body.pop("messages")[0]["content"]
        assert body == {"model": "m", "max_completion_tokens": 900, "temperature": 1}
        assert prompt.startswith("A point for each word about physics.\n")
    result = typed("judge", tmp_path / "pages.jsonl", *where[:-1])
    assert "scores: 0: 1, 1: 0, 2: 1" in result.stdout
    assert "2 requests, 20 tokens read and 4 written; 0 answers from before" in result.stdout
