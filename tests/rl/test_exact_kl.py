from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tiny_recipe import run_quietly
from tiny_rl import log_of

from tutelage.rl.exact_kl import divergence
from tutelage.runner import Run

MakeRun = Callable[..., Run]


def test_the_published_value() -> None:
    """Enumerated over three tokens."""
    policy, reference = (torch.tensor([row], dtype=torch.float64).log() for row in ([0.5, 0.3, 0.2], [0.4, 0.4, 0.2]))
    assert float(divergence(policy, reference)) == pytest.approx(0.025267, abs=1e-6)
    assert float(divergence(policy, policy + 3.0)) == pytest.approx(0, abs=1e-12)


def test_pain_31_it_is_logged_beside_its_estimates_starts_at_zero_and_is_never_negative(rl_run: MakeRun) -> None:
    """TRL #235: a negative divergence, which a policy can earn with. The estimate k1 scatters around this one."""
    log = log_of(run_quietly(rl_run("grpo", "steps=12", "lr=3e-3", "temperature=0.8", "prompts=8"), "grpo"), "grpo")
    exact = [row["kl_exact"] for row in log]
    assert exact[0] == pytest.approx(0, abs=1e-6)
    assert min(exact) > -1e-6
    assert exact[-1] > 0.01
    k1 = [row["kl"] for row in log]
    assert sum(k1[4:]) == pytest.approx(sum(exact[4:]), rel=0.5)
