from __future__ import annotations

from pathlib import Path

import pytest
from tiny_recipe import run_quietly

from tutelage.config import recipes_folder
from tutelage.predicted import predict, predictions
from tutelage.recipe import load_recipe
from tutelage.report.page import write_report
from tutelage.runner import PREDICTED, Run

TINY = recipes_folder() / "tiny.toml"
OVERRIDES = ["stages.base.steps=5", "evaluate={}"]


def tiny(folder: Path, *overrides: str) -> Run:
    return Run(load_recipe(TINY, [*OVERRIDES, *overrides]), folder)


def test_predictions_are_made_before_training_and_stay(tmp_path: Path) -> None:
    run = tiny(tmp_path / "run")
    predict(run)
    before = predictions(run)
    assert list(before) == ["base", "chat"]
    assert all(one.seconds > 0 and one.peak_rss_bytes > 100 * 2**20 for one in before.values())
    run_quietly(run)
    predict(run)
    assert predictions(run) == before
    assert "predicted memory" in write_report(run).read_text()

    changed = tiny(tmp_path / "run", "stages.chat.seed=9")
    assert predictions(changed) == {"base": before["base"]}
    predict(changed)
    assert predictions(changed)["base"] == before["base"]
    assert predictions(changed)["chat"] != before["chat"]


def test_nothing_is_predicted_of_several_processes_and_where_no_plan_can_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict(tiny(tmp_path / "empty", 'data.chat={kind="chat", path="none.jsonl"}'))
    with monkeypatch.context() as several:
        for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
            several.setenv(name, value)
        predict(tiny(tmp_path / "run"))
    assert not list(tmp_path.rglob(PREDICTED))


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    run = tiny(tmp_path)
    (tmp_path / PREDICTED).write_text('{"stages": {"base": {"seconds": "x"}}}')
    with pytest.raises(ValueError, match=r"predicted\.json is broken .*; remove it"):
        predictions(run)
