"""Two real processes over gloo against one."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from tiny_recipe import write_tiny_recipe

import tutelage
from tutelage.model.hub import load_tensors
from tutelage.process import rank_and_world_size
from tutelage.recipe import load_recipe
from tutelage.runner import Run
from tutelage.train import distributed

CHECKOUT = Path(tutelage.__file__).parents[1]
SCRIPT = Path(__file__).with_name("two_processes.py")

BASE = """
steps = 6
batch_tokens = 1024
micro_tokens = 400
held_out = 0.1
checkpoint_seconds = 0
"""
CHAT = f"""
replay = 0.4
evaluate_every = 3
{BASE}
[evaluate]
chat = ["forgetting"]
"""


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"}


def together(*arguments: object) -> list[tuple[int, str]]:
    """The script run by two processes that nothing watches over; exit status and standard error of each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    started = [
        subprocess.Popen(
            command,
            env={**environment(), **place, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    errors = [process.communicate(timeout=300)[1] for process in started]
    return [(process.returncode, said) for process, said in zip(started, errors, strict=True)]


def torchrun(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(
        [*command, *map(str, arguments)], env=environment(), capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="module")
def alone() -> ModuleType:
    """The script, for this one process."""
    spec = importlib.util.spec_from_file_location("two_processes", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


Both = tuple[Path, list[tuple[int, str]]]


@pytest.fixture(scope="module")
def both(alone: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Both:
    """What two processes wrote, beside checkpoints of one that they took up, and how they ended."""
    folder = tmp_path_factory.mktemp("both")
    for kind in ("adamw", "muon"):
        alone.save(kind, str(folder / f"alone.{kind}"))
    ends = together("everything", folder)
    assert (folder / "both.muon.safetensors").exists(), ends
    return folder, ends


def part(tensors: dict[str, torch.Tensor], kind: str) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in tensors.items() if name.startswith(f"{kind}/")}


@pytest.mark.parametrize(
    "name",
    [
        "llama",
        "qwen3",
        "qwen3 with a value head",
        "gpt2",
        "mixture",
        "llama with lora",
        "qwen3 with lora",
        "llama with muon",
        "llama with lora and muon",
        "llama with lora and a value head",
        "llama of pairs",
        "qwen3 of pairs, with a reward head",
        "llama of samples",
        "qwen3 of samples, with a value head",
    ],
)
def test_pain_10_two_processes_are_one(name: str, both: Both, alone: ModuleType) -> None:
    """In float64: the gradients themselves, which Adam would hide the scale of, the figures of the step, and the
    weights after a few steps, to within 1e-9; those of Muon, which works in bfloat16, to within its digits."""
    one, two = alone.work_out(alone.CASES[name]), load_tensors(both[0] / f"{name}.safetensors")
    assert one.keys() == two.keys()
    assert (
        "head" in name or "pairs" in name or "samples" in name or {"figure/loss.0", "figure/loss.1"} <= one.keys()
    )  # the second source is in one process's part alone
    gradients = part(one, "gradient")
    trained = [key for key in gradients if "lora_" in key or "embedding_rows" in key or "heads." in key]
    assert len(trained) == (len(gradients) if "lora" in name else "head" in name)
    for key, wanted in {**gradients, **part(one, "figure")}.items():
        assert float(wanted.abs().max()) > 0, key
        assert float((two[key] - wanted).abs().max() / wanted.abs().max()) < 1e-9, key
    within = 1e-3 if alone.CASES[name].optimizer.kind == "muon" else 1e-9
    for key, wanted in part(one, "weight").items():
        torch.testing.assert_close(two[key], wanted, rtol=0, atol=within)


def test_the_cases_have_a_process_that_idles(alone: ModuleType) -> None:
    own = [alone.micro_batches(alone.groups(), alone.MICRO_TOKENS, rank, 2) for rank in range(2)]
    assert [[batch.padding for batch in micro] for micro in own] == [[False, False], [False, True]]


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_a_checkpoint_is_taken_up_by_another_number_of_processes(kind: str, both: Both, alone: ModuleType) -> None:
    """Saved by one or by two, gone on with by one or by two: always where a run never stopped arrives."""
    model, optimizer = alone.trained(kind, 3)
    wanted = model.state_dict() | optimizer.state_tensors()
    found = {
        f"saved by {by}, taken up by {taker}": tensors
        for by in ("alone", "both")
        for taker, tensors in {
            "both": load_tensors(both[0] / f"{by}.{kind}.safetensors"),
            "alone": alone.load(kind, str(both[0] / f"{by}.{kind}")),
        }.items()
    }
    within = 1e-3 if kind == "muon" else 1e-9
    for how, tensors in found.items():
        assert tensors.keys() == wanted.keys(), how
        for name, tensor in wanted.items():
            torch.testing.assert_close(tensors[name], tensor, rtol=0, atol=within, msg=f"{how}: {name}")
    shards = sorted(path.name for path in (both[0] / f"both.{kind}").iterdir())
    assert shards == [*(f"shard-0000{rank}-model-00001-of-00001.safetensors" for rank in (1, 2)), "state.json"]


@pytest.mark.parametrize("number", [1, 2])
def test_a_checkpoint_that_lost_a_part_is_refused_in_one_sentence(
    number: int, both: Both, alone: ModuleType, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(both[0] / "both.adamw", broken)
    part = next(broken.glob(f"shard-0000{number}-*"))
    sentence = r"broken is not a complete checkpoint \(.*\); remove it to restart the stage$"
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(ValueError, match=sentence):
        alone.load("adamw", str(broken))
    part.unlink()
    with pytest.raises(ValueError, match=sentence):
        alone.load("adamw", str(broken))


def test_a_process_that_fails_ends_the_others_and_alone_says_why(both: Both) -> None:
    (first_status, first), (_, second) = both[1]
    assert "ValueError: the second process has no room" in second
    assert (first_status, first) == (1, "")


def test_who_was_started_alone_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert rank_and_world_size() == (0, 1)
    monkeypatch.setenv("WORLD_SIZE", "2")  # what a cluster's own scheduler may leave behind
    assert rank_and_world_size() == (0, 1)
    with distributed.init_distributed():
        assert (distributed.rank(), distributed.world_size()) == (0, 1)
        assert distributed.all_gather_object("word") == ["word"]


def steps(out: Path, stage: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / stage / "train.jsonl").read_text().splitlines()]


TIMED = ("seconds", "tokens_per_second", "peak_rss_bytes", "environment")


def figures(out: Path) -> dict[str, Any]:
    summary = json.loads((out / "summary.json").read_text())
    return {name: value for name, value in summary.items() if not any(word in name for word in TIMED)}


def assert_close_runs(found: Path, wanted: Path) -> None:
    """The same run, to float tolerance."""
    mine, theirs = figures(found), figures(wanted)
    assert mine.keys() == theirs.keys()
    for name, value in theirs.items():
        assert mine[name] == (pytest.approx(value, rel=2e-3, abs=2e-3) if isinstance(value, float) else value), name
    for stage in ("base", "chat"):
        for one, other in zip(steps(found, stage), steps(wanted, stage), strict=True):
            for name in ("step", "tokens", "trained_tokens", "lr"):
                assert one[name] == pytest.approx(other[name], rel=1e-9)
            assert one["loss"] == pytest.approx(other["loss"], rel=1e-3)
            assert one["gradient_norm"] == pytest.approx(other["gradient_norm"], rel=1e-2)


def assert_same_runs(found: Path, wanted: Path) -> None:
    """The same run, bit for bit."""
    assert figures(found) == figures(wanted)
    for stage in ("base", "chat"):
        for file in ("train.jsonl", "model.safetensors", "config.json"):
            assert (found / stage / file).read_bytes() == (wanted / stage / file).read_bytes(), f"{stage}/{file}"
        shards = sorted((wanted / stage / "checkpoint").glob("*.safetensors"))
        assert len(shards) == 2
        for shard in shards:
            mine, theirs = load_tensors(found / stage / "checkpoint" / shard.name), load_tensors(shard)
            assert mine.keys() == theirs.keys()
            assert all(mine[name].equal(theirs[name]) for name in theirs)


def test_pain_12_a_whole_run_of_two_processes_and_one_killed_and_resumed_by_two_and_by_one(tmp_path: Path) -> None:
    whole, killed, single = (tmp_path / name for name in ("whole", "killed", "single"))
    recipe = write_tiny_recipe(tmp_path, f'{BASE}optimizer = {{ kind = "muon" }}', CHAT)
    recipe.write_text(recipe.read_text().replace("depth = 1", "depth = 2"))
    done = torchrun("-m", "tutelage", "run", recipe, f"out={whole}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("all figures:") == 1
    Run(load_recipe(recipe), single).run()
    assert_close_runs(whole, single)
    assert steps(whole, "chat")[-1]["loss"] < steps(whole, "base")[0]["loss"] - 0.1  # it learned, or nothing was shown

    shutil.copytree(whole, killed, ignore=shutil.ignore_patterns("chat"))
    ended = torchrun(SCRIPT, "run", recipe, killed, 4)  # in its fourth checkpoint
    assert ended.returncode != 0
    assert "another process of this run was killed" in ended.stderr
    assert not (killed / "chat" / "stage.json").exists()
    position = json.loads((killed / "chat" / "checkpoint" / "state.json").read_text())
    assert position["step"] == 3
    resumed_alone = tmp_path / "resumed_alone"
    shutil.copytree(killed, resumed_alone)
    again = torchrun("-m", "tutelage", "run", recipe, f"out={killed}")
    assert again.returncode == 0, again.stderr
    assert "chat: resuming after step 3 of 6" in again.stderr
    assert_same_runs(killed, whole)
    Run(load_recipe(recipe), resumed_alone).run()
    assert_close_runs(resumed_alone, whole)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_pain_35_a_killed_run_of_shared_matrices_is_resumed_by_another_layout(tmp_path: Path) -> None:
    """The survivor ends, and says why; then processes that share the batch, and one alone, finish the run."""
    recipe = write_tiny_recipe(tmp_path, BASE, CHAT)
    recipe.write_text(recipe.read_text().replace("width = 32", "width = 64, heads = 4, kv_heads = 2"))
    single, killed = tmp_path / "single", tmp_path / "killed"
    Run(load_recipe(recipe), single).run()
    ended = torchrun(SCRIPT, "run", recipe, killed, 4, "layout.tp=2")
    assert ended.returncode != 0
    assert "another process of this run was killed" in ended.stderr
    assert json.loads((killed / "base" / "checkpoint" / "state.json").read_text())["step"] == 3
    alone = tmp_path / "alone"
    shutil.copytree(killed, alone)
    again = torchrun("-m", "tutelage", "run", recipe, f"out={killed}")
    assert again.returncode == 0, again.stderr
    assert "base: resuming after step 3 of 6" in again.stderr
    Run(load_recipe(recipe), alone).run()
    for resumed in (killed, alone):
        assert_close_runs(resumed, single)
