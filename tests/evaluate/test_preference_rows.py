from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from tutelage.cli import main

Data = Callable[[str], Path]


def published(data: Data, model: str) -> list[str]:
    folder = data("alpaca_eval_lc")
    weights = ["--weights", str(folder / "weights_baseline_gpt4_1106_preview.csv"), "--model", model]
    known = ["--known", str(folder / "vicuna-7b-v1.5.csv"), "vicuna-7b-v1.5"]
    return ["win-rate", str(folder / f"{model}.csv"), *weights, *known]


@pytest.mark.parametrize(
    ("model", "raw", "controlled"), [("alpaca-7b", 2.59145, 5.87549), ("vicuna-7b-v1.5", 4.79749, 7.61689)]
)
def test_the_command_gives_alpaca_evals_published_values(data: Data, model: str, raw: float, controlled: float) -> None:
    result = CliRunner().invoke(main, [*published(data, model), "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert 100 * found["win_rate"]["mean"] == pytest.approx(raw, abs=1e-4)
    assert 100 * found["published"] == pytest.approx(controlled, abs=0.01)
    assert found["longer_wins"]["rate"] > 0.85


def test_pain_e25_missing_prompts_are_named_and_not_paired_by_number(data: Data) -> None:
    result = CliRunner().invoke(main, published(data, "text_davinci_001"))
    assert result.exit_code == 1
    assert "text_davinci_001 lacks 2 of 805 prompts, such as '247', '504'" in result.stderr
    by_number = CliRunner().invoke(main, [*published(data, "text_davinci_001"), "--by-number", "--json"])
    assert by_number.exit_code == 0, by_number.output
    assert 100 * json.loads(by_number.stdout)["published"] == pytest.approx(9.02573, abs=1e-4)


def test_pain_e23_rows_without_a_verdict_leave_the_denominator(tmp_path: Path) -> None:
    path = tmp_path / "annotations.json"  # as AlpacaEval writes them: one list
    rows = [
        {"instruction": str(n), "preference": p, "output_1": "a", "output_2": "b"}
        for n, p in enumerate([1, 2, 2, None])
    ]
    path.write_text(json.dumps(rows))
    found = json.loads(CliRunner().invoke(main, ["win-rate", str(path), "--json"]).stdout)
    assert found["win_rate"]["mean"] == pytest.approx(2 / 3) and found["prompts"] == 3
    assert found["unparsed"]["rate"] == 0.25
    path.write_text(json.dumps(rows[3:]))
    assert "no row has a verdict" in CliRunner().invoke(main, ["win-rate", str(path)]).stderr


def test_a_win_rate_of_shares_and_of_answers(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [
        {"prompt": str(n), "share": n % 2, "output_1": "ab", "output_2": "abc" if n % 4 else "a"} for n in range(40)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    shown = CliRunner().invoke(main, ["win-rate", str(path)])
    assert shown.exit_code == 0, shown.output
    assert "win rate: 50.00% of 40 prompts" in shown.output
    assert "the longer answer wins: 75.0% of 40" in shown.output
    alone = CliRunner().invoke(main, ["win-rate", str(path), "--model", "x"])
    assert alone.exit_code == 1 and "go together" in alone.stderr
    path.write_text(json.dumps({"prompt": "a", "preference": 3}))
    broken = CliRunner().invoke(main, ["win-rate", str(path)])
    assert broken.exit_code == 1 and "rows.jsonl:1: the model's share is 2.0" in broken.stderr
