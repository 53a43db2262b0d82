"""`tutelage judge` from the command line."""

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
    """A running endpoint that scores by a rule; see tests/client/endpoint.py."""
    path = Path(__file__).parents[1] / "client" / "endpoint.py"
    spec = importlib.util.spec_from_file_location("endpoint", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with module.Endpoint() as running:
        yield running


def test_the_request_holds_the_given_fields(endpoint: Any, tmp_path: Path) -> None:
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
    assert (found["score_counts"], found["usage"]["requests"]) == ([1, 0, 1, 0, 0, 0], 2)
    for body in endpoint.seen:
        prompt = body.pop("messages")[0]["content"]
        assert body == {"model": "m", "max_completion_tokens": 900, "temperature": 1}
        assert prompt.startswith("A point for each word about physics.\n")
    result = typed("judge", tmp_path / "pages.jsonl", *where[:-1])
    assert "scores: 0: 1, 1: 0, 2: 1" in result.stdout
    assert "2 requests, 20 prompt tokens, 4 completion tokens; 0 cached answers" in result.stdout
