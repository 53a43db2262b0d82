"""A whole run of GRPO by two processes: each samples its share of the prompts, and the weights are sharded."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_rl
from tiny_recipe import run_quietly
from tiny_rl import log_of

import tutelage
from tutelage.runner import Run

MakeRun = Callable[..., Run]
SETTINGS = ["steps=2", "minibatches=2", "kl=0.1", "replay=0.2"]


@pytest.mark.slow
def test_two_processes_draw_the_samples_of_one(rl_run: MakeRun, asked: Path) -> None:
    """The samples, their rewards and advantages are the same; losses agree to float tolerance."""
    one = run_quietly(rl_run("grpo", *SETTINGS, name="one"), "grpo")
    two = rl_run("grpo", *SETTINGS, name="two")
    paths = os.pathsep.join([str(Path(tutelage.__file__).parents[1]), str(Path(tiny_rl.__file__).parent)])
    overrides = [f"stages.grpo.{setting}" for setting in SETTINGS]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "tutelage"]
    done = subprocess.run(
        [*command, "run", str(asked.with_name("grpo.toml")), f"out={two.folder}", *overrides],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "TUTELAGE_DEVICE": "cpu"},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    for first, second in zip(log_of(one, "grpo"), log_of(two, "grpo"), strict=True):
        for name in ("reward", "advantage_std", "no_signal", "rollouts", "trained_tokens"):
            assert first.get(name) == second.get(name), name
        for name in ("loss", "kl", "ratio", "gradient_norm"):
            assert second[name] == pytest.approx(first[name], rel=1e-3, abs=1e-5), name
