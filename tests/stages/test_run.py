from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import tutelage
from tutelage.model.hub import load_model, load_tensors
from tutelage.stages.run import _recent_loss

RECIPE = """
name      = "tiny"
model     = {{ depth = 1, width = 32, context = 128 }}
tokenizer = {{ kind = "bpe", vocab = 300 }}

[data]
world = {{ kind = "world", people = 20, versions = 1 }}
chat  = {{ kind = "world-chat" }}

[stages.base]
kind = "pretrain"
data = {{ world = 1 }}
epochs = 2
batch_tokens = 2048
held_out = 0.1
checkpoint_seconds = 0
optimizer = {{ kind = "{optimizer}" }}

[stages.chat]
kind = "sft"
from = "base"
data = {{ chat = 1 }}
replay = 0.4
epochs = 2
batch_tokens = 2048
too_long = "drop"
held_out = 0.1
checkpoint_seconds = 0
optimizer = {{ kind = "{optimizer}" }}
"""

# Runs `tutelage run` and sends itself a signal just before the n-th time that a file of the run whose path holds `part`
# is opened, renamed or removed. What happens between two such moments changes no file that is looked at again.
DRIVER = """
import os, signal, sys
import torch
from tutelage.cli import main

torch.set_num_threads(1)
recipe, out, part, number, moment = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
moments = 0

def before(event, arguments):
    global moments, moment
    if event in ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir"):
        path = str(arguments[0])
        moments += path.startswith(out) and part in path
        if moments == moment:
            moment = 0
            os.kill(os.getpid(), number)

sys.addaudithook(before)
sys.argv = ["tutelage", "run", recipe, "out=" + out]
try:
    main()
finally:
    print(moments)
"""

Runs = dict[str, tuple[Path, Path, int]]


def run(recipe: Path, out: Path, number: int = 0, moment: int = -1, part: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", DRIVER, str(recipe), str(out), part, str(number), str(moment)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    checkout = Path(tutelage.__file__).parents[1]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=checkout)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """For each optimizer the recipe, the folder of a run that nothing disturbed, and how many moments it had."""
    runs = {}
    for optimizer in ("adamw", "muon"):
        folder = tmp_path_factory.mktemp(optimizer)
        recipe = folder / "tiny.toml"
        recipe.write_text(RECIPE.format(optimizer=optimizer))
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


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_pain_12_killed_at_random_moments_and_resumed_is_never_killed_bit_for_bit(
    optimizer: str, uninterrupted: Runs, tmp_path: Path
) -> None:
    """SIGKILL three times, through second passes over the data and with replay."""
    recipe, whole, moments = uninterrupted[optimizer]
    draw = random.Random(optimizer)
    trained = []
    for _ in range(3):
        killed = run(recipe, tmp_path, signal.SIGKILL, draw.randint(moments // 5, moments * 3 // 10))
        assert killed.returncode == -signal.SIGKILL
        trained.append(len(steps(tmp_path, "base")) + len(steps(tmp_path, "chat")))
    assert trained == sorted(set(trained))  # each went on from where the one before was killed
    done = run(recipe, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "going on after step" in done.stderr
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
    """Two passes, replay drawn from, several steps each, the weights moved; nothing lost and nothing twice."""
    for _, whole, _ in uninterrupted.values():
        for stage in ("base", "chat"):
            info = json.loads((whole / stage / "stage.json").read_text())
            assert steps(whole, stage) == list(range(1, info["steps"] + 1))
            assert info["steps"] >= 10
            assert next(iter(info["passes"].values())) == 2
        assert info["graded_by_source"]["replay.world"] == pytest.approx(0.4 * info["graded"], rel=0.1)
        log = [json.loads(line) for line in (whole / "base" / "train.jsonl").read_text().splitlines()]
        assert log[-1]["loss"] < log[0]["loss"] - 0.5
        assert "held_out.world" in log[-1]
    first, second = (load_tensors(whole / "chat" / "model.safetensors") for _, whole, _ in uninterrupted.values())
    assert not first["embedding.weight"].equal(second["embedding.weight"])


def test_ctrl_c_saves_says_so_and_goes_on_even_over_a_torn_log(uninterrupted: Runs, tmp_path: Path) -> None:
    recipe, whole, moments = uninterrupted["muon"]
    stopped = run(recipe, tmp_path, signal.SIGINT, moments // 4)
    assert stopped.returncode == 130
    done = steps(tmp_path, "base")[-1]
    total = steps(whole, "base")[-1]
    assert stopped.stderr.splitlines()[-1] == (
        f"tutelage: stopped after step {done} of {total} of stage base; run the same command again to go on from there"
    )
    log = tmp_path / "base" / "train.jsonl"
    with log.open("a") as file:
        file.write(json.dumps({"step": done + 1, "loss": 0.0}) + "\n" + '{"step": 9, "lo')
    resumed = run(recipe, tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert f"base: going on after step {done} of {total}" in resumed.stderr
    assert_same_run(tmp_path, whole)


def test_ctrl_c_before_training_is_one_sentence_too(uninterrupted: Runs, tmp_path: Path) -> None:
    recipe, _, _ = uninterrupted["muon"]
    stopped = run(recipe, tmp_path, signal.SIGINT, 5)
    assert stopped.returncode == 130
    assert stopped.stderr.splitlines()[-1] == (
        "tutelage: stopped; run the same command again to go on from the last checkpoint"
    )
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
        assert ledger["rows_read"] == ledger["rows_kept"] + dropped
    assert info["ledgers"]["chat"]["dropped"]["longer than the context of 128 tokens"]["rows"] > 0


def test_the_reported_loss_weighs_recent_steps_by_what_they_graded() -> None:
    log = [{"loss": 9.0, "graded": 10.0}, {"loss": 2.0, "graded": 40.0}, {"loss": 5.0, "graded": 50.0}]
    assert _recent_loss(log) == pytest.approx((2.0 * 30 + 5.0 * 10) / 40)
    assert _recent_loss(log[:1]) == 9.0
