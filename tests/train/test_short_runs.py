"""Fifty runs of two processes, some with a killed one: each ends by itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import tutelage

WHOLE, KILLED = 25, 25


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_pain_13_fifty_runs_with_empty_experts_or_a_killed_process_do_not_hang(tmp_path: Path) -> None:
    """All tokens go to the experts of the first process. Without a kill both end well; with one, whoever is left says
    so in a sentence and exits with status 1."""
    script = Path(__file__).with_name("short_runs.py")
    environment = {**os.environ, "PYTHONPATH": str(Path(tutelage.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), str(tmp_path), str(WHOLE), str(KILLED)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    runs = [json.loads(line) for line in (tmp_path / "runs.jsonl").read_text().splitlines()]
    assert len(runs) == WHOLE + KILLED
    assert not any(run["hung"] for run in runs)
    for run in runs[:WHOLE]:
        assert run["status"] == [0, 0] and run["finished"], run
        assert "terminate called" not in "".join(run["said"])
    for run in runs[WHOLE:]:
        victim = 0 if run["kill_at"][0] is not None else 1
        assert run["status"][victim] == -9 and run["status"][1 - victim] == 1, run
        last = run["said"][1 - victim].splitlines()[-1]
        assert last.startswith("tutelage: another process of this run was killed, or its machine is gone; rerun"), run
    assert {run["kill_at"][0] is None for run in runs[WHOLE:]} == {True, False}
