from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_recipe import run_quietly

from tutelage import runner
from tutelage.batching.loader import WeightedStore, batches
from tutelage.batching.packing import collate
from tutelage.config import SettingsError
from tutelage.doctor.diagnose import cases_of, diagnose
from tutelage.evaluate.suites.preferences import calibration_error
from tutelage.model.hub import load_model
from tutelage.model.lora import LoraSettings
from tutelage.recipe import load_recipe
from tutelage.runner import Run
from tutelage.stages import run as stage_run
from tutelage.stages.dpo import Dpo
from tutelage.stages.kto import Kto
from tutelage.stages.preferences import PreferenceStage
from tutelage.stages.reward import RewardModel
from tutelage.stages.train_stage import set_up
from tutelage.train.hooks import FirstStepError
from tutelage.train.preference_losses import REFERENCE, estimate_z0

MakeRun = Callable[..., Run]


def log_of(run: Run, kind: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run.folder / kind / "train.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("kind", "settings", "loss"),
    [
        ("dpo", [], math.log(2)),
        ("dpo", ["stages.dpo.lora.rank=2", "stages.dpo.replay=0.3"], math.log(2)),
        ("reward", [], math.log(2)),
        ("reward", ["stages.reward.lora.rank=2"], math.log(2)),
        ("kto", [], 0.5),
    ],
)
def test_pain_19_every_run_begins_at_the_reference(
    preference_run: MakeRun, kind: str, settings: list[str], loss: float
) -> None:
    """The loss of the first step is what it must be where policy and reference are one model, and the margin 0."""
    run = run_quietly(preference_run(kind, *settings), kind)
    log = log_of(run, kind)
    assert log[0]["loss"] == pytest.approx(loss, abs=1e-6)
    assert log[0]["margin"] == pytest.approx(0, abs=1e-6)
    assert log[-1]["margin"] > 0


def test_a_reference_that_is_not_the_parent_stops_the_run_with_both_settings(
    preference_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LLaMA-Factory #8459: the adapter switched off was the base, and not the model that training began with."""
    real = PreferenceStage._with_reference

    def from_base(self: Any, at: Any, checkpoint: Any, store: Any, precision: Any) -> Any:
        base = load_model(at.folders["base"])
        with torch.no_grad():  # the chat stage's tokens were added to it
            rows = len(base.model.embedding.weight)
            checkpoint.model.embedding.weight[:rows].copy_(base.model.embedding.weight)
        return real(self, at, checkpoint, store, precision)

    run = preference_run("dpo")
    trained = run.trained_stage("dpo")
    monkeypatch.setattr(PreferenceStage, "_with_reference", from_base)
    set_up(trained, run.context("dpo"))  # writes the wrong log-probabilities under the parent's fingerprint
    monkeypatch.setattr(PreferenceStage, "_with_reference", real)
    with pytest.raises(
        FirstStepError, match=r"step 1: .* must be .* policy: .*/chat, all weights.*; reference: .*/chat"
    ):
        run_quietly(run, "dpo")


@pytest.mark.parametrize("kind", ["dpo", "reward", "kto"])
def test_pain_20_a_killed_run_resumes_bit_for_bit(
    preference_run: MakeRun, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NeMo-RL #2955: after a resume the reference was the current policy. Here even a lost cache changes nothing."""
    settings = [f"stages.{kind}.checkpoint_seconds=0", f"stages.{kind}.replay=0.2", f"stages.{kind}.evaluate_every=2"]
    whole = run_quietly(preference_run(kind, *settings, name="whole"), kind)
    real, saved = stage_run.save_checkpoint, 0

    def killed_after_three(*arguments: Any) -> None:
        nonlocal saved
        real(*arguments)
        saved += 1
        if saved == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(stage_run, "save_checkpoint", killed_after_three)
    again = preference_run(kind, *settings, name="killed")
    with pytest.raises(KeyboardInterrupt):
        run_quietly(again, kind)
    monkeypatch.setattr(stage_run, "save_checkpoint", real)
    for cached in (again.folder / "data").glob(f"*/*/{REFERENCE}-*.bin"):
        cached.unlink()
    run_quietly(again, kind)
    for name in ("train.jsonl", "model.safetensors"):
        assert (whole.folder / kind / name).read_bytes() == (again.folder / kind / name).read_bytes(), name


def test_pains_23_and_24_cached_reference_belongs_to_its_tokens_and_moves_no_random_number(
    preference_run: MakeRun,
) -> None:
    run = preference_run("dpo")
    stage, at = run.trained_stage("dpo"), run.context("dpo")
    assert isinstance(stage, Dpo)
    torch.manual_seed(3)
    wanted = torch.rand(1)
    torch.manual_seed(3)
    checkpoint = stage.start(at)
    store = stage.stores(at, checkpoint)["pairs"].train
    assert torch.equal(torch.rand(1), wanted)
    for micro, _ in batches(
        {"pairs": WeightedStore(store, 1.0)}, batch_tokens=300, micro_tokens=300, seed=7, epochs=1
    ):  # shuffled, and packed with other neighbours than when it was computed
        for batch in micro:
            torch.testing.assert_close(checkpoint.model(batch), batch.trained(REFERENCE), rtol=0, atol=1e-5)
    files = list((run.folder / "data").glob(f"*/*/{REFERENCE}-*.bin"))
    before = {path: path.stat().st_mtime_ns for path in files}
    stage.stores(at, checkpoint)
    assert before == {path: path.stat().st_mtime_ns for path in files}


def test_pain_22_evaluations_use_the_cached_reference(preference_run: MakeRun) -> None:
    """TRL #1107: computed with the trained policy, the accuracy was always 0."""
    run = run_quietly(preference_run("dpo", "stages.dpo.steps=30", "stages.dpo.evaluate_every=10"), "dpo")
    evaluated = [line for line in log_of(run, "dpo") if "preferences.pairs.accuracy" in line]
    assert [line["step"] for line in evaluated] == [10, 20, 30]
    assert evaluated[-1]["preferences.pairs.margin"] > evaluated[0]["preferences.pairs.margin"] > 0
    assert evaluated[-1]["preferences.pairs.accuracy"] > 0.5
    assert evaluated[0]["held_out.pairs"] < math.log(2)
    assert evaluated[-1]["samples"]


def test_pains_14_and_16_a_saved_reward_model_scores_as_in_training(
    preference_run: MakeRun,
) -> None:
    """The score of the loaded model, with the ids of training, is that of the evaluation."""
    run = preference_run("reward", "evaluate.reward=['preferences']", "stages.reward.steps=80", "stages.reward.lr=1e-2")
    summary = run_quietly(run, "base", "chat", "reward").summary()
    assert summary["evaluate.reward.preferences.accuracy.rate"] > 0.8
    assert 0 <= summary["evaluate.reward.preferences.calibration_error.mean"] <= 0.5
    checkpoint = load_model(run.folder / "reward")
    assert checkpoint.model.config.output_heads == {"reward": 1}
    stage = run.trained_stage("reward")
    assert isinstance(stage, RewardModel)
    store = stage.stores(run.context("reward"), checkpoint, "none")["pairs"].held_out
    margins = []
    for index in range(len(store)):
        values = []
        for example in store.group(index):
            head_N = checkpoint.model.outputs(collate([(example,)])).heads["reward"]
            values.append(head_N[-1].item())
        margins.append(values[0] - values[1])
    mean = sum(margins) / len(margins)
    assert summary["evaluate.reward.preferences.margin.mean"] == pytest.approx(mean, abs=1e-4)


def test_the_calibration_error_of_a_model_that_is_as_sure_as_it_is_right() -> None:
    import numpy as np

    sure = math.log(3)  # s(log 3) = 3/4
    assert calibration_error(np.array([sure, sure, sure, -sure])) == pytest.approx(0, abs=1e-12)
    assert calibration_error(np.array([20.0, -20.0])) == pytest.approx(0.5, abs=1e-6)


def test_pain_28_z0_is_one_number_for_a_step_however_it_is_cut(preference_run: MakeRun) -> None:
    settings = ["stages.kto.steps=10", "stages.kto.lr=5e-4", "stages.kto.undesirable_weight=0.01"]
    run = run_quietly(preference_run("kto", *settings), "kto")
    assert any(line["kl"] > 0 for line in log_of(run, "kto")[1:])
    policy = load_model(run.folder / "kto").model
    found = []
    for micro in (None, "120"):
        settings = [] if micro is None else [f"stages.kto.micro_tokens={micro}"]
        other = preference_run("kto", *settings)
        stage, at = other.trained_stage("kto"), other.context("kto")
        assert isinstance(stage, Kto)
        setup = set_up(stage, at)
        setup.checkpoint.model.load_state_dict(policy.state_dict())
        step, _ = next(setup.stream.batches(None, False))
        values = {float(value) for batch in step for value in batch.scalars["z0"]}
        assert len(values) == 1
        found.append((len(step), values.pop()))
    (whole, z0), (cut, z0_cut) = found
    assert whole < cut
    assert z0 > 0
    assert z0_cut == pytest.approx(z0, rel=1e-5)
    assert estimate_z0(policy, []) == 0.0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"loss_type": "ipo", "label_smoothing": 0.1}, 'label_smoothing has no effect on "ipo"'),
        ({"loss_type": "robust"}, '"robust" needs the rate of wrong labels'),
        ({"gamma": 0.3}, 'gamma is the target margin of "simpo"'),
        ({"label_smoothing": 0.5}, "label_smoothing is 0.5; it is a share: at least 0, below 0.5"),
        ({"beta": 0.0}, "beta .* must be above 0"),
        ({"nll": -1.0}, "nll is -1.0"),
        ({"replay_weight": 2.0}, "replay_weight weighs replayed text, and replay is 0"),
        ({"keep": "best_eval"}, 'keep = "best_eval" selects by the dev eval'),
    ],
)
def test_an_option_without_effect_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        Dpo(parent="chat", data={"pairs": 1.0}, steps=1, **settings)


@pytest.mark.parametrize("kind", [Dpo, Kto, RewardModel])
def test_pain_30_dropout_is_refused(kind: type[PreferenceStage]) -> None:
    """TRL #744, PR 3234: with dropout the policy differs from itself, and the first margin is not 0."""
    with pytest.raises(SettingsError, match="lora.dropout is 0.1; .* must be computed alike"):
        kind(parent="chat", data={"pairs": 1.0}, steps=1, lora=LoraSettings(rank=2, dropout=0.1))


def test_data_that_changes_while_a_stage_runs_is_an_error(
    preference_run: MakeRun, tuned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stage's fingerprint no longer holds: it would count as not finished, and go without evaluation."""
    path = tuned.with_name("pairs.jsonl")
    text = path.read_text()
    monkeypatch.setattr(runner, "run_stage", lambda *arguments: path.write_text(f"{text}\n"))
    try:
        with pytest.raises(ValueError, match="^stage dpo: its data changed while it ran; put the old files back"):
            run_quietly(preference_run("dpo"), "dpo")
    finally:
        path.write_text(text)


def test_the_wrong_kind_of_data_is_refused(tuned: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tuned.parent, tmp_path / "tales"))
    path = folder / "wrong.toml"
    stage = 'kind = "dpo"\nfrom = "chat"\ndata = { chat = 1 }\nsteps = 1\nlr = 1e-3'
    path.write_text(f"{tuned.read_text()}\n[stages.dpo]\n{stage}\n")
    with pytest.raises(SettingsError, match="'chat' holds conversations, but .* trains on preferences"):
        load_recipe(path)


def test_pain_29_displacement_is_measured_and_the_doctor_names_it_with_its_cure(
    preference_run: MakeRun, tuned: Path
) -> None:
    """Rewards of chosen and rejected fall together, and nobody tells. Planted: pairs that share all but one token; the
    NLL term is the fix."""
    nouns = "cat dog fox hen owl".split()
    for name, verbs in {"close": ("sees", "likes"), "held_out_close": ("hears",)}.items():
        rows = [
            {"prompt": f"who {v} the {n}?", "chosen": f"xx the hen {v} it", "rejected": f"xx the hen {v} in"}
            for v in verbs
            for n in nouns
        ]
        tuned.with_name(f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = [f"data.pairs.path={tuned.with_name('close.jsonl')}", "evaluate.dpo=['preferences']"]
    settings += [f"data.pairs.held_out={tuned.with_name('held_out_close.jsonl')}", "stages.dpo.steps=40"]
    settings += ["stages.dpo.lr=3e-3", "stages.dpo.beta=0.05"]
    shifts, named = {}, {}
    for nll in (0.0, 1.0):
        run = preference_run("dpo", *settings, f"stages.dpo.nll={nll}", name=f"nll-{nll}")
        run_quietly(run, "base", "chat", "dpo")
        summary = run.summary()
        shifts[nll] = summary["evaluate.dpo.preferences.chosen_shift.mean"]
        (case,) = cases_of(run, "dpo")
        named[nll] = [(diagnosis.name, diagnosis.fix) for diagnosis in diagnose(case)]
    assert shifts[0.0] < -0.1 < 0 < shifts[1.0]
    assert named[0.0][0][0] == "chosen-less-likely"
    assert "--nll" in named[0.0][0][1]
    assert "chosen-less-likely" not in [name for name, _ in named[1.0]]


@pytest.mark.parametrize("settings", [["lora.rank=2", "lora.base_dtype=bfloat16"], ["precision=bfloat16"]])
def test_pain_41_held_out_margins_compare_policy_and_reference_in_one_precision(
    preference_run: MakeRun, settings: list[str]
) -> None:
    """A reference in bfloat16 would move every margin: here nothing is learned, so that every margin must be 0."""
    settings = [f"stages.dpo.{setting}" for setting in (*settings, "steps=1", "lr=1e-12")]
    run = run_quietly(preference_run("dpo", "evaluate.dpo=['preferences']", *settings), "base", "chat", "dpo")
    margin = run.summary()["evaluate.dpo.preferences.margin.mean"]
    assert margin == pytest.approx(0, abs=1e-5)
    assert log_of(run, "dpo")[0]["margin"] == pytest.approx(0, abs=0.02)
