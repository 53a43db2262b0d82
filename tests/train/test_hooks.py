"""What hooks write, and when."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tutelage.progress import Bar
from tutelage.train import hooks
from tutelage.train.checkpoint import TrainState
from tutelage.train.hooks import LogHook, Tally
from tutelage.train.loop import StepReport
from tutelage.train.metrics import Metrics


@pytest.mark.parametrize(("seconds", "lines"), [(0.0, [1, 2, 3]), (3600.0, [])])
def test_the_log_is_written_between_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quiet: None, seconds: float, lines: list[int]
) -> None:
    monkeypatch.setattr(hooks, "LOG_SECONDS", seconds)
    path = tmp_path / "train.jsonl"
    log = LogHook(path, Tally(TrainState(0, None, "")), [], 1e-3, Bar("chat", 3, "steps", 0))
    for step in (1, 2, 3):
        log(StepReport(step, None, Metrics({"loss": (2.0, 1.0)}), 8, 4.0, 1.0, 1.0))
    written = [json.loads(line)["step"] for line in path.read_text().splitlines()] if path.exists() else []
    assert written == lines
    log.flush()
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2, 3]
