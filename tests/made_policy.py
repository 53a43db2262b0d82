"""A made-up stage that samples, with everything that the report draws of one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

FIGURES = (
    "ratio clipped entropy mismatch kl kl_k2 reward reward_std advantage_std response_length response_length_max "
    "reward.score reward.gold value return"
).split()


def policy(steps: int) -> Any:
    """Its log has so many steps."""
    random = np.random.default_rng(0)
    log = [made_row(step, random) for step in range(1, steps + 1)]
    settings = {"rewards": {"score": {"weight": 1.0}, "gold": {"weight": 0.0}}}
    return SimpleNamespace(name="policy", log=log, info=SimpleNamespace(settings=settings))


def made_row(step: int, random: np.random.Generator) -> dict[str, Any]:
    """A step at which a rollout begins."""
    sample = {
        "prompt": "Who is it, and why? " * 9, "written": f"step {step} " + "Gladly. " * step, "reward": -1.25,
        "parts": {"score": -1.25, "gold": None}, "tokens": 9, "finish_reason": "length",
    }  # fmt: skip
    row = {"step": step, **{name: float(random.normal()) for name in FIGURES}}
    row |= {"no_signal": 0.5, "no_signal.solved": 0.25, "rollouts": [sample, {**sample, "reward": None}]}
    return row | ({"no_signal.cap": 0.25} if step % 2 else {}) | ({"eval.reward": 0.1} if step % 10 == 0 else {})
