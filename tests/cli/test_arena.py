from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

Verb = Callable[..., Result]


def test_models_are_rated_and_what_had_no_verdict_is_shown(verb: Verb, tmp_path: Path) -> None:
    rows = [{"prompt": n, "first": "[bold]a", "second": "b", "winner": "first" if n % 3 else "tie"} for n in range(12)]
    rows.append({"prompt": 13, "first": "b", "second": "[bold]a", "winner": "first"})
    rows.append({"prompt": 14, "first": "b", "second": "[bold]a", "winner": "?"})
    file = tmp_path / "battles.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    result = verb("arena", file, "--resamples", "20", "--first-seat", "--ties", "davidson")
    assert result.exit_code == 0, result.output
    assert "dropped: no verdict" in result.output and "[bold]a" in result.output
    assert "13 battles over 13 prompts" in result.output and "first seat: " in result.output
    plain = json.loads(verb("arena", file, "--resamples", "20", "--json").stdout)
    assert [player["name"] for player in plain["players"]] == ["[bold]a", "b"]
    assert plain["ledger"]["dropped"]["no verdict"]["rows"] == 1


def test_a_file_without_battles_is_one_sentence(refused: Callable[..., str], tmp_path: Path) -> None:
    file = tmp_path / "chats.jsonl"
    file.write_text('{"messages": []}')
    assert "has no battle with a verdict" in refused("arena", file)
