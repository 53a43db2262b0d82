from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_recipe import run_quietly
from tiny_rl import changed_by, first_step, kill_after, log_of, moved_gradient

from tutelage.config import SettingsError
from tutelage.model.lora import LoraSettings
from tutelage.rl.reward_settings import FunctionReward
from tutelage.runner import Run
from tutelage.stages.fine_tune import FineTune
from tutelage.stages.grpo import Grpo

MakeRun = Callable[..., Run]


def test_a_run_begins_on_policy_and_learns(rl_run: MakeRun) -> None:
    """Pains 30 and 32: the ratio of the first step is 1, the divergence 0, and sampler and trainer agree."""
    run = run_quietly(rl_run("grpo", "steps=20", "evaluate_every=10"), "grpo")
    log = log_of(run, "grpo")
    assert log[0]["ratio"] == pytest.approx(1, abs=1e-6)
    assert log[0]["kl"] == pytest.approx(0, abs=1e-6)
    assert log[0]["mismatch"] == pytest.approx(0, abs=1e-6)
    assert log[0]["entropy"] > 0
    first, last = (sum(line["reward.right"] for line in part) for part in (log[:5], log[-5:]))
    assert last > first
    assert [line["step"] for line in log if "eval.reward" in line] == [10, 20]
    assert log[-1]["samples"]
    assert {"written", "reward", "parts", "finish_reason"} <= log[0]["rollouts"][0].keys()
    assert sum(value for name, value in log[0].items() if name.startswith("finish.")) == pytest.approx(1)


def test_pain_1_stopping_is_rewarded(rl_run: MakeRun) -> None:
    """nanochat #810: the stop token was sampled, and not trained. Where only short answers are rewarded, the model
    learns to stop."""
    settings = ["rewards={ short = { kind = 'length' } }", "steps=20", "prompts=8", "lr=3e-3"]
    log = log_of(run_quietly(rl_run("grpo", *settings), "grpo"), "grpo")
    assert log[-1]["response_length"] < 0.5 * log[0]["response_length"]
    assert log[-1]["finish.stop"] == 1


@pytest.mark.parametrize(
    "settings",
    [
        [],
        ["minibatches=2", "inner_epochs=2", "kl=0.1", "replay=0.3", "temperature=0.8"],
        ["lora.rank=2", "minibatches=3", "refill=1"],
        ["environment='tiny_rl:once_more'", "minibatches=2"],
    ],
)
def test_pain_59_a_killed_run_resumes_bit_for_bit_samples_included(
    rl_run: MakeRun, settings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """prime-rl PR 3164: a resume sampled the first prompts again. Here it may even be in the middle of a rollout."""
    settings = [*settings, "steps=7", "checkpoint_seconds=0"]
    whole = run_quietly(rl_run("grpo", *settings, name="whole"), "grpo")
    with kill_after(3, monkeypatch):
        run_quietly(rl_run("grpo", *settings, name="killed"), "grpo")
    again = run_quietly(rl_run("grpo", *settings, name="killed"), "grpo")
    model = "adapter_model.safetensors" if "lora.rank=2" in settings else "model.safetensors"
    for name in ("train.jsonl", model):
        assert (whole.folder / "grpo" / name).read_bytes() == (again.folder / "grpo" / name).read_bytes(), name
    left = list((again.folder / "grpo" / "rollouts").glob("*"))
    assert len(left) <= 1


def test_a_rollout_that_the_checkpoint_needs_and_that_is_missing_is_named(
    rl_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ["minibatches=4", "checkpoint_seconds=0"]
    with kill_after(1, monkeypatch):
        run_quietly(rl_run("grpo", *settings), "grpo")
    run = rl_run("grpo", *settings)
    shutil.rmtree(run.folder / "grpo" / "rollouts")
    with pytest.raises(ValueError, match=r"rollouts/[0-9a-f]{16}.safetensors is missing, and the checkpoint needs it"):
        run_quietly(run, "grpo")


def test_however_a_step_is_cut_its_gradient_is_the_same(rl_run: MakeRun) -> None:
    """Eight micro-batches equal one, with samples, replayed text and the divergence."""
    settings = ["replay=0.3", "kl=0.1", "minibatches=2"]
    runs = [rl_run("grpo", *settings, *more) for more in (["micro_tokens=4000"], ["micro_tokens=64"])]
    steps = [first_step(run, "grpo") for run in runs]
    assert steps[0][0][0].unique_C is not None  # prompts are computed once where samples of one are together
    assert len(steps[0][0]) == 1 < len(steps[1][0])
    whole, cut = (moved_gradient(run, "grpo") for run in runs)
    torch.testing.assert_close(cut, whole, rtol=1e-4, atol=1e-6)


# Of each option other values, each with what it is compared with.
SEVERAL, DIVERGENCE = ["minibatches=2"], ["kl=0.1", "minibatches=2"]
OTHERS: dict[str, list[tuple[list[str], list[str]]]] = {
    "rewards": [([], ["rewards.short.weight=0.5"])],
    "prompts": [([], ["prompts=3"])],
    "group_size": [([], ["group_size=5"])],
    "max_tokens": [([], ["max_tokens=9"])],
    "temperature": [([], ["temperature=0.7"])],
    "minibatches": [([], ["minibatches=2"])],
    "inner_epochs": [([], ["inner_epochs=2"])],
    "refill": [(["rewards.short.weight=0"], ["rewards.short.weight=0", "refill=2"])],
    "mask_cut_off": [(["max_tokens=22"], ["max_tokens=22", "mask_cut_off=true"])],
    "clip_low": [(SEVERAL, [*SEVERAL, "clip_low=0.01"])],
    "clip_high": [(SEVERAL, [*SEVERAL, "clip_high=0.01"])],
    "importance_cap": [([], ["importance_cap=1.01"])],
    "kl": [(SEVERAL, DIVERGENCE)],
    "kl_in": [(DIVERGENCE, [*DIVERGENCE, 'kl_in="reward"'])],
    "kl_estimator": [(DIVERGENCE, [*DIVERGENCE, 'kl_estimator="k3"'])],
    "replay_weight": [(["replay=0.3"], ["replay=0.3", "replay_weight=0.5"])],
    "environment": [([], ["environment='tiny_rl:once_more'"])],
    "estimator": [
        ([], [f'estimator="{name}"'])
        for name in ("dr_grpo", "rloo", "maxrl", "reinforce", "reinforce_pp", "reinforce_pp_baseline")
    ],
    "loss_type": [
        (SEVERAL, [*SEVERAL, 'loss_type="cispo"']),
        (SEVERAL, [*SEVERAL, 'loss_type="gspo"', 'normalisation="sequence"']),
        (["importance_cap=1.5"], ["importance_cap=1.5", 'loss_type="reinforce"', 'estimator="dr_grpo"']),
    ],
    "normalisation": [([], [f'normalisation="{name}"']) for name in ("sequence", "constant")],
}
# What is measured, which weights are kept, a time limit, where samples are written (test_remote.py), and tools, whose
# schemas the character model cannot read (tests/stages/test_environment.py).
NOT_OF_THE_GRADIENT = {"track_kl", "keep", "environment_seconds", "tools", "tool_limits", "engine"}


@pytest.mark.parametrize("name", sorted(OTHERS))
def test_pain_21_every_option_changes_the_gradient(rl_run: MakeRun, name: str) -> None:
    """Options without effect are the field's commonest; one that is added without a line above fails here."""
    own = set(Grpo.__struct_fields__) - set(FineTune.__struct_fields__)
    assert OTHERS.keys() == own - NOT_OF_THE_GRADIENT
    for base, other in OTHERS[name]:
        before, after = (moved_gradient(rl_run("grpo", *settings), "grpo") for settings in (base, other))
        assert changed_by(before, after), other


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"group_size": 1}, 'group_size is 1; "grpo" compares the samples of a group'),
        ({"temperature": 0.0}, "samples of a greedy policy are all the same"),
        ({"loss_type": "reinforce", "minibatches": 2}, "right for one step of a rollout"),
        ({"loss_type": "gspo"}, 'set normalisation = "sequence"'),
        ({"loss_type": "cispo", "clip_low": 0.1}, "clip_low is 0.1; the loss does not use it"),
        ({"kl": 0.1, "kl_estimator": "k1"}, "its expected gradient is 0"),
        ({"kl_in": "reward"}, 'kl_in is "reward"; kl is 0'),
        ({"kl": 0.1, "kl_in": "reward", "kl_estimator": "k3"}, "the reward takes the unbiased"),
        ({"estimator": "reinforce", "refill": 1}, "learns from groups of equal rewards too"),
        ({"find_lr": True}, "those of sampled answers do not fall"),
        ({"minibatches": 1000}, "fewer samples"),
        ({"replay_weight": 2.0}, "it weighs replayed text: set replay"),
        ({"keep": "lowest_loss"}, "nothing selects weights here"),
        ({"lora": LoraSettings(rank=2, dropout=0.1)}, "lora.dropout is 0.1; sampler, policy and reference"),
    ],
)
def test_an_impossible_combination_is_refused(settings: dict[str, Any], said: str) -> None:
    rewards = {"rewards": {"right": FunctionReward(name="a:b")}}
    with pytest.raises(SettingsError, match=said):
        Grpo(parent="chat", data={"questions": 1.0}, steps=1, **{**rewards, **settings})


def test_the_suite_reports_before_and_after(rl_run: MakeRun, asked: Path) -> None:
    run = rl_run("grpo", "steps=4", 'rewards={ gold = { kind = "verifier", verifier = "exact" } }')
    run.recipe.evaluate["grpo"] = ["tasks"]
    run_quietly(run, "grpo")
    summary = run.summary()
    for name in ("right", "right_before", "cut_off", "cut_off_before"):
        assert 0 <= summary[f"evaluate.grpo.tasks.{name}.low"] <= summary[f"evaluate.grpo.tasks.{name}.high"] <= 1
    assert "evaluate.grpo.tasks.reward.mean" in summary
