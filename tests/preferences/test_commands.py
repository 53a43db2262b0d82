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
    page = (out / "report.html").read_text()
    assert "Preferences" in page
    assert ("loss (per answer)" if kind == "kto" else "loss (per pair)") in page
    if kind != "reward":
        assert f"evaluate.{kind}.format.compliant.rate" in summary
    again, _ = run(kind, "--model", out, "--data", folder / "nothing.jsonl", "--out", tmp_path / "no")
    assert again == 1


def test_the_other_commands_take_a_stage_of_preferences(tuned: Path, tales_run: Run, tmp_path: Path) -> None:
    folder, out = tuned.parent, tmp_path / "better"
    code, output = run(
        "dpo", "--model", tales_run.folder / "chat", "--data", folder / "pairs.jsonl", "--out", out, "--epochs", 1,
        "--lr", 1e-3, "--no-eval",
    )  # fmt: skip
    assert code == 0, output
    for command in (["look", out / "dpo"], ["doctor", out], ["evaluate", out], ["compare", out, out]):
        code, output = run(*command)
        assert code == 0, output
    recipe = tuned.with_name("planned.toml")
    recipe.write_text(
        f"{tuned.read_text()}\n[data.pairs]\nkind = 'preferences'\npath = 'pairs.jsonl'\n"
        "[stages.dpo]\nkind = 'dpo'\nfrom = 'chat'\ndata = { pairs = 1 }\nepochs = 1\n"
    )
    code, output = run("plan", recipe)
    assert code == 0, output


def test_a_file_of_labels_given_to_dpo_is_named(tuned: Path, tales_run: Run, tmp_path: Path) -> None:
    rows = [{"prompt": f"who sees the {n}?", "completion": "the cat.", "label": n == "dog"} for n in ("dog", "hen")]
    (tmp_path / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = tales_run.folder / "chat"
    code, output = run("dpo", "--model", model, "--data", tmp_path / "labels.jsonl", "--out", tmp_path / "out")
    assert code == 1
    assert "has one answer with a label, and not a pair; train on it with `tutelage kto`" in output
    code, output = run(
        "kto", "--model", model, "--data", tmp_path / "labels.jsonl", "--out", tmp_path / "kto", "--no-eval"
    )
    assert code == 0, output
