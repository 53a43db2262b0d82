from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

Verb = Callable[..., Result]


def verdict(body: dict[str, Any]) -> str:
    """Prefers the answer of letters over that of digits."""
    found = re.findall(r"<answer_[AB]>\n(.*?)\n</answer_[AB]>", body["messages"][-1]["content"])
    return f"Words say more. [[{'A' if found[0].isalpha() else 'B'}]]"


def test_two_files_of_answers_are_compared_and_rated(
    verb: Verb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    path = Path(__file__).parents[1] / "client" / "endpoint.py"
    spec = importlib.util.spec_from_file_location("endpoint", path)
    assert spec is not None and spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    prompts = [f"What is {number}?" for number in range(6)]
    for name, text in (("words", "abc"), ("digits", "123")):
        rows = [json.dumps({"prompt": prompt, "answer": text}) for prompt in prompts]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(rows))
    people = [{"prompt": prompt, "first": "digits", "second": "words", "winner": "second"} for prompt in prompts]
    (tmp_path / "people.jsonl").write_text("\n".join(map(json.dumps, people)))
    out = tmp_path / "battles.jsonl"
    with module.Endpoint(verdict) as endpoint:
        asked = ["judge-pairs", tmp_path / "words.jsonl", tmp_path / "digits.jsonl", "--out", out]
        asked += ["--url", endpoint.url, "--model", "words-judge", "--human", tmp_path / "people.jsonl"]
        result = verb(*asked)
        assert result.exit_code == 0, result.output
        again = json.loads(verb(*asked, "--json").stdout)
    assert "words wins 6, ties 0, digits wins 0" in result.output
    assert "at equal length: cannot be told" in result.output
    assert "note: the judge words-judge and words seem to be of one family" in result.output
    assert "agrees with people, ties apart: 100.0% of 6" in result.output
    assert again["usage"]["requests"] == 0 and again["usage"]["cached"] == 12
    battles = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(battles) == 12 and {row["winner"] for row in battles} == {"words"}
    assert {row["first"] for row in battles} == {"words", "digits"}
    assert "12 battles over 6 prompts" in verb("arena", out, "--resamples", "20").output


def test_two_models_of_one_name_are_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"prompt": "A?", "answer": "a"}')
    options = ["--out", tmp_path / "out.jsonl", "--url", "http://127.0.0.1:9/v1", "--model", "none"]
    assert "both models are named 'a'; give --names A B" in refused("judge-pairs", file, file, *options)
