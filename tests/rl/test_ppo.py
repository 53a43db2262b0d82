from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tiny_recipe import run_quietly
from tiny_rl import changed_by, kill_after, log_of, moved_gradient

from tutelage.config import SettingsError
from tutelage.model.hub import load_model
from tutelage.rl.reward_settings import FunctionReward
from tutelage.rl.sampling import SampleRow
from tutelage.rl.token_advantages import HEAD, before_step
from tutelage.runner import Run
from tutelage.stages import ppo
from tutelage.stages.grpo import Grpo
from tutelage.stages.ppo import Ppo
from tutelage.train.hooks import FirstStepError
from tutelage.train.policy_losses import ADVANTAGE, OLD, OLD_VALUE, RETURN
from tutelage.train.preference_losses import REFERENCE

MakeRun = Callable[..., Run]
REWARDS = {"right": FunctionReward(name="a:b")}


def stage(**settings: Any) -> Ppo:
    return Ppo(parent="chat", data={"q": 1.0}, steps=1, rewards=REWARDS, **settings)


def test_a_run_begins_on_policy_with_values_of_zero_and_learns(rl_run: MakeRun) -> None:
    """Pain 18: the head starts at zero, and that is checked; the divergence starts at 0 (pain 31)."""
    run = run_quietly(rl_run("ppo", "steps=32", "prompts=12", "evaluate_every=16"), "ppo")
    log = log_of(run, "ppo")
    assert log[0]["ratio"] == pytest.approx(1, abs=1e-6)
    assert log[0]["kl"] == pytest.approx(0, abs=1e-6)
    assert log[0]["value"] == 0
    assert log[-1]["value"] != 0
    rewards = [line["reward.right"] for line in log if "reward.right" in line]
    assert len(rewards) == 8  # one rollout for four steps
    assert sum(rewards[-3:]) > sum(rewards[:3])
    assert load_model(run.folder / "ppo").model.config.output_heads == {"value": 1}


def test_a_new_value_head_that_is_not_zero_stops_the_run(rl_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """trlx #345: the values began elsewhere than the write-up said. A head of the parent may begin anywhere."""
    monkeypatch.setattr(ppo, "before_step", wrong_values)
    with pytest.raises(FirstStepError, match="value is .*it must be 0"):
        run_quietly(rl_run("ppo", "steps=1"), "ppo")


def wrong_values(model: Any, batch: Any) -> Any:
    with torch.no_grad():
        model.heads[HEAD].weight.add_(0.1)
    return before_step(model, batch)


def row(tokens: int, total: float, finish_reason: str = "stop") -> SampleRow:
    return SampleRow("q", [1], [2], list(range(tokens)), [-1.0] * tokens, finish_reason, "x", "x", total)  # type: ignore[arg-type]


def columns(tokens: int, values: list[float] | None = None, gap: float = 0.0) -> dict[str, np.ndarray]:
    return {
        OLD: np.full(tokens, -1.0),
        REFERENCE: np.full(tokens, -1.0 - gap),
        OLD_VALUE: np.array(values or [0.0] * tokens),
    }


def test_pain_17_the_reward_is_on_the_last_sampled_token() -> None:
    """TRL #3750: it was added to the slot after the end. A return at the stop token is the score."""
    ((made,),) = stage(kl=0.0, whiten=False, lam=1.0).assign([[row(3, 0.7)]], [[columns(3)]], 0.0)
    assert made[RETURN].tolist() == pytest.approx([0.7] * 3)
    ((made,),) = stage(whiten=False).assign([[row(3, 1.0)]], [[columns(3, [0.5, 0.4, 0.6])]], 0.0)
    assert made[ADVANTAGE].tolist() == pytest.approx([0.451, 0.58, 0.4])
    assert made[RETURN].tolist() == pytest.approx([0.951, 0.98, 1.0])


def test_the_divergence_is_taken_from_the_reward_of_each_token() -> None:
    ((made,),) = stage(whiten=False, lam=1.0).assign([[row(3, 1.0)]], [[columns(3, gap=0.2)]], 0.5)
    assert made[RETURN].tolist() == pytest.approx([0.7, 0.8, 0.9])


def test_pain_34_moments_of_whitening_are_over_the_trained_tokens_of_the_rollout() -> None:
    """SkyRL #1305: the mean over padding, the variance over tokens. Masked samples count for neither."""
    groups = [[row(2, 1.0)], [row(3, -1.0)], [row(4, 9.0, "length")]]
    given = [[columns(2)], [columns(3)], [columns(4)]]
    made = stage(mask_cut_off=True, max_tokens=4).assign(groups, given, 0.0)
    trained = np.concatenate([made[0][0][ADVANTAGE], made[1][0][ADVANTAGE]])
    assert trained.mean() == pytest.approx(0, abs=1e-12)
    assert trained.std() == pytest.approx(1)


def test_pain_37_the_adaptive_factor_moves_with_the_measured_divergence() -> None:
    """1909.08593, section 2.2; and it is refused where nothing is measured (RLlib PR 61782)."""
    adaptive = stage(kl_target=6.0, kl_horizon=640)
    assert adaptive.adapted(0.2, 6.6) == pytest.approx(0.2 * (1 + 0.1 * 0.1))
    assert adaptive.adapted(0.2, 60.0) == pytest.approx(0.2 * (1 + 0.2 * 0.1))
    assert adaptive.adapted(0.2, 0.0) == pytest.approx(0.2 * (1 - 0.2 * 0.1))
    with pytest.raises(SettingsError, match="kl_target is 6.0; it adapts kl in the reward"):
        stage(kl=0.0, kl_target=6.0)


def test_the_adapted_factor_is_part_of_the_state(rl_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ["steps=7", "kl_target=0.5", "kl_horizon=20", "prompts=8", "checkpoint_seconds=0", "replay=0.2"]
    whole = run_quietly(rl_run("ppo", *settings, name="whole"), "ppo")
    with kill_after(3, monkeypatch):
        run_quietly(rl_run("ppo", *settings, name="killed"), "ppo")
    again = run_quietly(rl_run("ppo", *settings, name="killed"), "ppo")
    for name in ("train.jsonl", "model.safetensors"):
        assert (whole.folder / "ppo" / name).read_bytes() == (again.folder / "ppo" / name).read_bytes(), name
    factors = [line["kl_factor"] for line in log_of(again, "ppo") if "kl_factor" in line]
    assert len(factors) == 2
    assert factors[1] != factors[0] == 0.05


OTHERS: dict[str, list[tuple[list[str], list[str]]]] = {
    "gamma": [([], ["gamma=0.9"])],
    "lam": [([], ["lam=0.5"])],
    "whiten": [([], ["whiten=false"])],
    "value_weight": [([], ["value_weight=0.1"])],
    "value_clip": [([], ["value_clip=0.001"])],
}
# Tested above: they act from the second rollout on.
LATER = {"kl_target", "kl_horizon"}


@pytest.mark.parametrize("name", sorted(OTHERS))
def test_pain_21_every_option_changes_the_gradient(rl_run: MakeRun, name: str) -> None:
    own = set(Ppo.__struct_fields__) - set(Grpo.__struct_fields__)
    assert OTHERS.keys() == own - LATER
    for base, other in OTHERS[name]:
        before, after = (moved_gradient(rl_run("ppo", *settings), "ppo") for settings in (base, other))
        assert changed_by(before, after), other


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"lam": 1.5}, "lam is 1.5; it must lie between 0 and 1"),
        ({"gamma": 0.0}, "gamma is 0.0; it must be above 0"),
        ({"refill": 1}, "the value head, not the group"),
        ({"kl_horizon": 5}, "it belongs to kl_target"),
        ({"value_clip": 0.0}, "value_clip is 0.0"),
    ],
)
def test_an_impossible_combination_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        stage(**settings)
    assert math.isfinite(stage().kl)
