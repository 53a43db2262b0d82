from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tutelage.cli import main
from tutelage.runner import Run


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    return result.exit_code, result.output


def summary_of(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "summary.json").read_text()))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("dpo", ["--beta", 0.2, "--loss", "ipo", "--lora", 2, "--replay", 0.3]),
        ("kto", ["--beta", 0.2, "--max-forgetting", 5]),
        ("reward", ["--margin", 0.5, "--centring", 0.01]),
    ],
)
def test_a_command_trains_evaluates_and_reports(
    kind: str, options: list[object], tuned: Path, tales_run: Run, tmp_path: Path
) -> None:
    folder, out = tuned.parent, tmp_path / "better"
    code, output = run(
        kind, "--model", tales_run.folder / "chat", "--data", folder / "pairs.jsonl", "--held-out",
        folder / "held_out_pairs.jsonl", "--out", out, "--epochs", 1, "--lr", 1e-3, *options,
    )  # fmt: skip
    assert code == 0, output
    summary = summary_of(out)
    rate = f"evaluate.{kind}.preferences.accuracy"
    assert summary[f"{rate}.low"] <= summary[f"{rate}.rate"] <= summary[f"{rate}.high"]
    assert "held-out preferences ranked right" in output
    assert "margin" in output
    assert "Preferences" in (out / "report.html").read_text()
    if kind != "reward":
        assert f"evaluate.{kind}.format.compliant.rate" in summary
    again, _ = run(kind, "--model", out, "--data", folder / "nothing.jsonl", "--out", tmp_path / "no")
    assert again == 1
