from __future__ import annotations

import json
from pathlib import Path

import pytest

from tutelage.config import SettingsError
from tutelage.evaluate.suites import SUITES
from tutelage.recipe import load_recipe
from tutelage.report.compare import compare
from tutelage.runner import Run


def test_a_recipe_runs_the_benchmarks_that_the_command_runs(tales: Path, tales_run: Run, tmp_path: Path) -> None:
    rows = [
        {"context_options": ["the dog sees", "w w w"], "continuation": f"the {n}.", "gold": 0}
        for n in ("hen", "owl", "fox")
    ]
    (tmp_path / "winogrande.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = ["data.bench.kind=benchmarks", f"data.bench.path='{tmp_path}'", "data.bench.suites=['winogrande']"]
    run = Run(load_recipe(tales, [*data, "evaluate.chat=['benchmarks']"]), tales_run.folder)
    results = SUITES["benchmarks"].run(run.session("chat"))
    assert results.rates["winogrande.acc"].count == 3 and results.figures["winogrande"]["format"].startswith(
        "plain text, cloze"
    )
    assert [name for name, _ in results.outcomes["winogrande.acc"]] == [f"winogrande.jsonl:{n}" for n in (1, 2, 3)]
    run.evaluate("chat")
    try:
        stage = compare(run.folder / "chat", run.folder / "chat")["stages"]["chat"]
        assert stage["rates"]["benchmarks.winogrande.acc"]["paired"]["count"] == 3
    finally:
        (run.folder / "chat" / "evaluate" / "benchmarks.json").unlink()


def test_an_unknown_benchmark_is_refused_with_the_recipe(tales: Path, tmp_path: Path) -> None:
    data = ["data.bench.kind=benchmarks", f"data.bench.path='{tmp_path}'", "data.bench.suites=['copo']"]
    with pytest.raises(SettingsError, match="there is no benchmark 'copo'; known are mmlu, arc_easy"):
        load_recipe(tales, data)
