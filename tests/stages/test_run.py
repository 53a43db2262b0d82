from __future__ import annotations

import json
import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest
from killed_run import run
from tiny_recipe import write_tiny_recipe

from tutelage.batching.loader import WeightedStore, count_steps
from tutelage.batching.store import open_store
from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate import dev_eval
from tutelage.evaluate.suites import knowledge
from tutelage.files import resolve_folder
from tutelage.model.hub import load_model, load_tensors
from tutelage.recipe import load_recipe
from tutelage.runner import Run
from tutelage.stages.base import LR_RANGE_TEST, SELECTED
from tutelage.stages.run import _cut_log, _recent_loss
from tutelage.train.checkpoint import STATE_FILE


def recipe_with(folder: Path, optimizer: str, duration: str = "epochs = 2") -> Path:
    shared = f"""
{duration}
batch_tokens = 2048
held_out = 0.1
checkpoint_seconds = 0
optimizer = {{ kind = "{optimizer}" }}
"""
    return write_tiny_recipe(folder, shared, f"replay = 0.4{shared}")


Runs = dict[str, tuple[Path, Path, int]]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """For each optimizer the recipe, the folder of a run that nothing disturbed, and how many moments it had."""
    runs = {}
    for optimizer in ("adamw", "muon"):
        folder = tmp_path_factory.mktemp(optimizer)
        recipe = recipe_with(folder, optimizer)
        done = run(recipe, folder / "whole")
        assert done.returncode == 0, done.stderr
        runs[optimizer] = recipe, folder / "whole", int(done.stdout.splitlines()[-1])
    return runs


def assert_same_run(found: Path, expected: Path) -> None:
    for stage in ("base", "chat"):
        for file in ("model.safetensors", "train.jsonl", "checkpoint/model.safetensors", "config.json"):
            assert (found / stage / file).read_bytes() == (expected / stage / file).read_bytes(), f"{stage}/{file}"
        mine, theirs = (load_tensors(run / stage / "checkpoint/optimizer.safetensors") for run in (found, expected))
        assert mine.keys() == theirs.keys()
        assert all(mine[name].equal(theirs[name]) for name in theirs)
        timed = {"seconds", "tokens_per_second", "peak_rss_bytes"}
        infos = [json.loads((run / stage / "stage.json").read_text()) for run in (found, expected)]
        assert {k: v for k, v in infos[0].items() if k not in timed} == {
            k: v for k, v in infos[1].items() if k not in timed
        }


def steps(out: Path, stage: str) -> list[int]:
    path = out / stage / "train.jsonl"
    return [json.loads(line)["step"] for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.parametrize("optimizer", [pytest.param("adamw", marks=pytest.mark.slow), "muon"])
def test_pain_12_killed_at_random_moments_and_resumed_is_never_killed_bit_for_bit(
    optimizer: str, uninterrupted: Runs, tmp_path: Path
) -> None:
    """SIGKILL three times, through second epochs of the data and with replay."""
    recipe, whole, moments = uninterrupted[optimizer]
    draw = random.Random(optimizer)
    trained = []
    for _ in range(3):
        killed = run(recipe, tmp_path, signal.SIGKILL, draw.randint(moments // 5, moments * 3 // 10))
        assert killed.returncode == -signal.SIGKILL
        trained.append(len(steps(tmp_path, "base")) + len(steps(tmp_path, "chat")))
    assert trained == sorted(set(trained))  # each resumed from where the one before was killed
    done = run(recipe, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "resuming after step" in done.stderr
    assert_same_run(tmp_path, whole)


def test_pain_12_killed_between_the_last_step_and_the_end_of_a_stage(uninterrupted: Runs, tmp_path: Path) -> None:
    recipe, whole, _ = uninterrupted["adamw"]
    for stage in ("base", "chat"):
        killed = run(recipe, tmp_path, signal.SIGKILL, 2, part=f"{stage}/.stage.json")  # opened, and now renamed
        assert killed.returncode == -signal.SIGKILL
        assert steps(tmp_path, stage) == steps(whole, stage)
        assert not (tmp_path / stage / "stage.json").exists()
    done = run(recipe, tmp_path)
    assert done.returncode == 0, done.stderr
    assert_same_run(tmp_path, whole)


def test_pain_12_the_run_is_one_that_could_show_a_mistake(uninterrupted: Runs) -> None:
    """Two epochs, replay drawn from, several steps each, the weights moved; nothing lost and nothing twice."""
    for _, whole, _ in uninterrupted.values():
        for stage in ("base", "chat"):
            info = json.loads((whole / stage / "stage.json").read_text())
            assert steps(whole, stage) == list(range(1, info["steps"] + 1))
            assert info["steps"] >= 10
            assert next(iter(info["epochs"].values())) == 2
        assert info["trained_by_dataset"]["replay.world"] == pytest.approx(0.4 * info["trained_tokens"], rel=0.1)
        log = [json.loads(line) for line in (whole / "base" / "train.jsonl").read_text().splitlines()]
        assert log[-1]["loss"] < log[0]["loss"] - 0.5
        assert "held_out.world" in log[-1]
    first, second = (load_tensors(whole / "chat" / "model.safetensors") for _, whole, _ in uninterrupted.values())
    assert not first["model.embed_tokens.weight"].equal(second["model.embed_tokens.weight"])


def test_ctrl_c_saves_says_so_and_is_resumed_even_over_a_torn_log(uninterrupted: Runs, tmp_path: Path) -> None:
    recipe, whole, moments = uninterrupted["muon"]
    stopped = run(recipe, tmp_path, signal.SIGINT, moments // 4)
    assert stopped.returncode == 130
    done = steps(tmp_path, "base")[-1]
    total = steps(whole, "base")[-1]
    assert stopped.stderr.splitlines()[-1] == (
        f"tutelage: stopped after step {done} of {total} of stage base; rerun to resume"
    )
    log = tmp_path / "base" / "train.jsonl"
    with log.open("a") as file:
        file.write(json.dumps({"step": done + 1, "loss": 0.0}) + "\n" + '{"step": 9, "lo')
    resumed = run(recipe, tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert f"base: resuming after step {done} of {total}" in resumed.stderr
    assert_same_run(tmp_path, whole)


def test_ctrl_c_before_training_is_one_sentence_too(uninterrupted: Runs, tmp_path: Path) -> None:
    recipe, _, _ = uninterrupted["muon"]
    stopped = run(recipe, tmp_path, signal.SIGINT, 5)
    assert stopped.returncode == 130
    sentence = "tutelage: interrupted; rerun to resume"
    assert stopped.stderr.splitlines()[-1] == sentence
    assert "Traceback" not in stopped.stderr


def test_a_finished_stage_is_a_model_that_knows_where_it_comes_from(uninterrupted: Runs) -> None:
    _, whole, _ = uninterrupted["muon"]
    info = json.loads((whole / "chat" / "stage.json").read_text())
    checkpoint = load_model(whole / "chat")
    assert info["parameters"] == sum(p.numel() for p in checkpoint.model.parameters())
    assert info["vocab"] == checkpoint.tokenizer.vocab_size
    assert info["lr"] == pytest.approx(3e-3 / 3)
    for ledger in info["ledgers"].values():
        dropped = sum(reason["rows"] for reason in ledger["dropped"].values())
        assert ledger["rows_read"] == ledger["rows_kept"] + ledger["rows_held_out"] + dropped
    assert info["ledgers"]["chat"]["dropped"]["longer than the context of 128 tokens"]["rows"] > 0


def test_the_reported_loss_weighs_recent_steps_by_their_trained_tokens() -> None:
    log = [
        {"loss": 9.0, "trained_tokens": 10.0},
        {"loss": 2.0, "trained_tokens": 40.0},
        {"loss": 5.0, "trained_tokens": 50.0},
    ]
    assert _recent_loss(log) == pytest.approx((2.0 * 30 + 5.0 * 10) / 40)
    assert _recent_loss(log[:1]) == 9.0


def log_of(out: Path, stage: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / stage / "train.jsonl").read_text().splitlines()]


def selected(out: Path) -> dict[str, Any]:
    return json.loads((out / "chat" / "stage.json").read_text())["selected"]


def weights(out: Path) -> bytes:
    return (out / "chat" / "model.safetensors").read_bytes()


def test_pain_12_killed_and_resumed_keeps_the_weights_that_a_run_never_killed_keeps(
    tales: Path, tmp_path: Path
) -> None:
    overrides = ["stages.chat.checkpoint_seconds=0", "evaluate={}"]
    whole, out = tmp_path / "whole", tmp_path / "killed"

    def kill(part: str, moment: int) -> int:
        """The last step in the log when it was killed."""
        killed = run(tales, out, signal.SIGKILL, moment, part, overrides)
        assert killed.returncode == -signal.SIGKILL
        return steps(out, "chat")[-1]

    done = run(tales, whole, part="/chat/", overrides=overrides)
    assert done.returncode == 0, done.stderr
    moments = int(done.stdout.splitlines()[-1])
    kept = selected(whole)
    assert (kept["by"], kept["last"]) == ("best_eval", 24)
    assert 6 < kept["step"] < 24  # other weights than the last, and others had been put aside before
    assert kill("/.selected", 4) == 5  # as weights are put aside for the second time, at step 6
    middle = kill("/chat/", random.Random(5).randint(moments // 5, moments // 2))
    assert 5 < middle < kept["step"]
    # After the best evaluation, before one that is worse: the log is opened once to be read and once a step.
    at = json.loads((resolve_folder(out / "chat" / "checkpoint") / STATE_FILE).read_text())["step"]
    assert kill("/chat/train.jsonl", 1 + kept["step"] + 1 - at) == kept["step"]
    assert kill("/chat/.stage.json", 2) == 24  # the model is written, the stage is not finished
    assert weights(out) == weights(whole)
    assert (out / "chat" / SELECTED).exists()
    done = run(tales, out, overrides=overrides)
    assert done.returncode == 0, done.stderr
    assert_same_run(out, whole)
    for folder in (out, whole):
        assert not (folder / "chat" / SELECTED).exists()


def test_a_stage_becomes_what_it_was_at_its_best_evaluation(tales: Path, tales_run: Run, tmp_path: Path) -> None:
    evals = [line for line in log_of(tales_run.folder, "chat") if "dev_eval" in line]
    assert [line["step"] for line in evals] == list(range(3, 25, 3))
    metrics = [(round(line["dev_eval"]["score"], 6), -line["held_out.chat"]) for line in evals]
    best = evals[metrics.index(max(metrics))]
    lowest = min(evals, key=lambda line: line["held_out.chat"])
    kept = selected(tales_run.folder)
    assert kept == {
        "by": "best_eval",
        "step": best["step"],
        "score": best["dev_eval"]["score"],
        "best_eval_step": best["step"],
        "lowest_loss_step": lowest["step"],
        "last": 24,
    }
    assert len({best["step"], lowest["step"], evals[0]["step"]}) == 3  # or this test could not fail
    assert tales_run.summary()["stages.chat.held_out.chat"] == best["held_out.chat"]

    shorter = ["evaluate={}", "stages.chat.keep=last", f"stages.chat.steps={best['step']}"]
    Run(load_recipe(tales, shorter), tmp_path).run()  # the rate is constant, so it goes the same way and stops there
    assert weights(tmp_path) == weights(tales_run.folder)
    assert selected(tmp_path)["by"] == "last"


def test_a_stage_that_keeps_its_last_weights_still_says_which_step_was_best(
    tales: Path, tales_run: Run, tmp_path: Path
) -> None:
    Run(load_recipe(tales, ["evaluate={}", "stages.chat.keep=last"]), tmp_path).run()
    assert selected(tmp_path) == selected(tales_run.folder) | {"by": "last", "step": 24}
    assert log_of(tmp_path, "chat") == log_of(tales_run.folder, "chat")
    found = load_model(tmp_path / "chat").model.state_dict()  # the checkpoint's names are ours, the folder's Llama's
    last = load_tensors(tales_run.folder / "chat" / "checkpoint" / "model.safetensors")
    assert all(tensor.equal(last[name]) for name, tensor in found.items())
    assert weights(tmp_path) != weights(tales_run.folder)


def test_of_equal_evaluations_the_earliest_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without held-out rows there is no loss to tell them apart, and a model this young answers nothing right."""
    for module in (dev_eval, knowledge):
        monkeypatch.setattr(module, "ANSWER", SamplingSettings(max_tokens=2))
    recipe = recipe_with(tmp_path, "adamw", "steps = 5")
    options = ["base.steps=1", "chat.held_out=0", "chat.replay=0", "chat.evaluate_every=1"]
    options += ["chat.schedule.kind=constant", "chat.schedule.warmup=0"]
    overrides = [f"stages.{option}" for option in options]
    Run(load_recipe(recipe, overrides), tmp_path / "run").run()
    evals = log_of(tmp_path / "run", "chat")
    assert {line["dev_eval"]["score"] for line in evals} == {0}
    found = selected(tmp_path / "run")
    assert (found["step"], found["by"], found["last"]) == (1, "best_eval", 5)
    assert "lowest_loss_step" not in found
    Run(load_recipe(recipe, [*overrides, "stages.chat.steps=1"]), tmp_path / "first").run()
    assert weights(tmp_path / "run") == weights(tmp_path / "first")


def test_the_log_has_the_loss_of_each_dataset_by_its_name(tales_run: Run) -> None:
    for line in log_of(tales_run.folder, "chat"):
        parts = {name: loss for name, loss in line.items() if name.startswith("loss.")}
        assert set(parts) == {"loss.chat", "loss.replay.tales"}
        assert min(parts.values()) < line["loss"] < max(parts.values())
    assert not any(name.startswith("loss.") for line in log_of(tales_run.folder, "base") for name in line)


def test_the_log_is_cut_whole_or_not_at_all(tmp_path: Path) -> None:
    """A log half rewritten when the process is killed would have lost the evaluations of before the checkpoint."""
    log, before = tmp_path / "train.jsonl", tmp_path / "before"
    content = "".join(json.dumps({"step": step}) + "\n" for step in range(1, 6)) + '{"step": 6, "lo'
    log.write_text(content)
    os.link(log, before)  # the old file under another name: written over, it would change there too
    assert [line["step"] for line in _cut_log(log, 3)] == [1, 2, 3]
    assert log.read_text() == "".join(content.splitlines(keepends=True)[:3])
    assert before.read_text() == content
    assert _cut_log(tmp_path / "none.jsonl", 3) == []


FOUND = (
    "stages.chat={kind='sft',from='base',data={chat=1},replay=0.3,steps=12,batch_tokens=512,checkpoint_seconds=0,"
    "find_lr=true,optimizer={kind='adamw'}}"
)


def test_pain_12_a_stage_that_finds_its_rate_is_resumed_at_that_rate_bit_for_bit(
    tales: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "killed"
    overrides = ["evaluate={}", "stages.base.steps=5", FOUND]
    Run(load_recipe(tales, overrides), whole).run()
    assert "finding the learning rate" in capsys.readouterr().err
    killed = run(tales, out, signal.SIGKILL, 7, "/chat/train.jsonl", overrides)  # as the log is written once more
    assert killed.returncode == -signal.SIGKILL
    assert 3 < steps(out, "chat")[-1] < 12
    swept = (out / "chat" / LR_RANGE_TEST).stat().st_mtime_ns
    Run(load_recipe(tales, overrides), out).run()
    assert "finding the learning rate" not in capsys.readouterr().err  # it was found before
    assert (out / "chat" / LR_RANGE_TEST).stat().st_mtime_ns == swept
    assert_same_run(out, whole)
    info = json.loads((whole / "chat" / "stage.json").read_text())
    search = info["lr_range_test"]
    assert info["lr"] == search["chosen"] == max(line["lr"] for line in log_of(whole, "chat"))
    assert search["by"] in ("the steepest descent", "a tenth of the last stable rate")
    assert len(search["lrs"]) == len(search["losses"]) > 10


def test_an_evaluation_comes_at_the_end_of_every_epoch(tales: Path, tmp_path: Path) -> None:
    made = Run(load_recipe(tales, ["evaluate={}", "stages.chat.evaluate_every=epoch"]), tmp_path)
    made.run()
    stage = made.trained_stage("chat")
    info = json.loads((tmp_path / "chat" / "stage.json").read_text())
    shares = {"chat": 0.7, "replay.tales": 0.3}
    datasets = {
        name: WeightedStore(open_store(tmp_path / "data" / place), shares[name])
        for name, place in info["stores"].items()
    }
    epochs = info["epochs"]["chat"]
    assert epochs > 3
    ends = [count_steps(datasets, stage.batch_tokens, stage.seed, number + 1) for number in range(int(epochs))]
    evals = [line["step"] for line in log_of(tmp_path, "chat") if "dev_eval" in line]
    assert evals == sorted({*ends, 24})


def test_a_stage_may_keep_the_weights_of_its_lowest_held_out_loss(tales: Path, tales_run: Run, tmp_path: Path) -> None:
    Run(load_recipe(tales, ["evaluate={}", "stages.chat.keep=lowest_loss"]), tmp_path / "loss").run()
    lowest = selected(tales_run.folder)["lowest_loss_step"]
    assert selected(tmp_path / "loss") == selected(tales_run.folder) | {"by": "lowest_loss", "step": lowest}
    shorter = ["evaluate={}", "stages.chat.keep=last", f"stages.chat.steps={lowest}"]
    Run(load_recipe(tales, shorter), tmp_path / "shorter").run()
    assert weights(tmp_path / "loss") == weights(tmp_path / "shorter") != weights(tales_run.folder)


def test_a_stage_replays_the_text_it_names_and_is_measured_on_what_is_held_out_of_it(
    tales: Path, tmp_path: Path
) -> None:
    docs = tmp_path / "docs.jsonl"
    docs.write_text("".join(json.dumps({"text": "the owl sees the hen. " * 9}) + "\n" for _ in range(20)))
    named = [f"data.docs={{kind='documents',path='{docs}'}}", "stages.chat.replay_data={docs=1}"]
    made = Run(load_recipe(tales, [*named, "stages.chat.keep=last", "evaluate.chat=['forgetting']"]), tmp_path / "run")
    summary = made.run()
    assert summary["stages.chat.trained_by_dataset.replay.docs"] == pytest.approx(
        0.3 * summary["stages.chat.trained_tokens"], rel=0.1
    )
    assert "stages.chat.trained_by_dataset.replay.tales" not in summary
    assert summary["stages.chat.ledgers.replay.docs.rows_kept"] == 18
    last = log_of(made.folder, "chat")[-1]
    assert {"base_held_out.tales", "base_held_out.docs"} <= last.keys()
    by_data = {name: summary[f"evaluate.chat.forgetting.by_data.{name}.increase"] for name in ("tales", "docs")}
    assert summary["evaluate.chat.forgetting.increase"] == max(by_data.values())
    assert by_data["docs"] < by_data["tales"]  # what is replayed is not forgotten
    docs.write_text(docs.read_text().replace("owl", "fox"))
    assert made.stage_done("chat") is None


def test_the_weights_of_every_so_many_steps_are_kept(tales: Path, tales_run: Run, tmp_path: Path) -> None:
    """As models of their own, the newest so many; and the stage becomes what it becomes without."""
    keep = ["evaluate={}", "stages.chat.save_every=5", "stages.chat.keep_checkpoints=2"]
    Run(load_recipe(tales, keep), tmp_path / "run").run()
    assert sorted(path.name for path in (tmp_path / "run").glob("*@*")) == ["chat@15", "chat@20"]
    for file in ("model.safetensors", "train.jsonl", "checkpoint/model.safetensors"):
        assert (tmp_path / "run" / "chat" / file).read_bytes() == (tales_run.folder / "chat" / file).read_bytes()
    shorter = ["evaluate={}", "stages.chat.keep=last", "stages.chat.steps=15"]
    Run(load_recipe(tales, shorter), tmp_path / "shorter").run()  # the rate is constant
    assert (tmp_path / "run" / "chat@15" / "model.safetensors").read_bytes() == weights(tmp_path / "shorter")
    files = {"config.json", "model.safetensors", "tokenizer.json"}
    assert files <= {path.name for path in (tmp_path / "run" / "chat@15").iterdir()}


def test_what_an_earlier_stage_of_the_name_kept_makes_room(tales: Path, tmp_path: Path) -> None:
    """Were its steps counted in, the newest by number would be those of the stage that is no more."""
    keep = ["evaluate={}", "stages.base.steps=2", "stages.chat.save_every=5", "stages.chat.keep_checkpoints=2"]
    Run(load_recipe(tales, keep), tmp_path).run()
    Run(load_recipe(tales, [*keep, "stages.chat.steps=12", "stages.chat.seed=1"]), tmp_path).run()
    assert sorted(path.name for path in tmp_path.glob("*@*")) == ["chat@10", "chat@5"]


def test_weights_that_were_kept_survive_being_killed(tales: Path, tmp_path: Path) -> None:
    """Those of steps after the checkpoint are made again."""
    overrides = ["evaluate={}", "stages.base.steps=2", "stages.chat.save_every=4", "stages.chat.checkpoint_seconds=0"]
    whole, out = tmp_path / "whole", tmp_path / "killed"
    assert run(tales, whole, overrides=overrides).returncode == 0
    for part, moment in (("/chat@4", 2), ("/chat@16", 2), ("/chat@20", 1)):
        assert run(tales, out, signal.SIGKILL, moment, part, overrides).returncode == -signal.SIGKILL
    assert run(tales, out, overrides=overrides).returncode == 0
    assert_same_run(out, whole)
    names = ["chat@16", "chat@20", "chat@24"]
    assert sorted(path.name for path in out.glob("chat@*")) == names
    for name in names:
        assert (out / name / "model.safetensors").read_bytes() == (whole / name / "model.safetensors").read_bytes()
