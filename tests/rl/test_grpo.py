from __future__ import annotations

from collections.abc import Callable

import pytest
from tiny_recipe import run_quietly
from tiny_rl import log_of

from tutelage.runner import Run

MakeRun = Callable[..., Run]


def test_a_run_begins_on_policy_and_learns(rl_run: MakeRun) -> None:
    run = run_quietly(rl_run("grpo", "steps=20"), "grpo")
    log = log_of(run, "grpo")
    assert log[0]["ratio"] == pytest.approx(1, abs=1e-6)
    assert log[0]["kl"] == pytest.approx(0, abs=1e-6)
    assert log[0]["mismatch"] == pytest.approx(0, abs=1e-6)
    assert log[0]["entropy"] > 0
    first, last = (sum(line["reward.right"] for line in part) for part in (log[:5], log[-5:]))
    assert last > first
