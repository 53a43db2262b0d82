"""SIGKILL in the middle of every stage of preferences and rewards; the run that is resumed equals one never killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import tiny_rl
from killed_run import run

from tutelage.runner import Run

SHARED = 'lr = 1e-3\noptimizer = { kind = "adamw" }\ncheckpoint_seconds = 0\nsteps = 5\nreplay = 0.2\n'
REWARDS = 'rewards = { cat = { kind = "function", name = "tiny_rl:mentions_the_cat" }, short = { kind = "length" } }\n'
STAGES = {
    "reward": f"data = {{ pairs = 1 }}\n{SHARED}batch_tokens = 512\n",
    "dpo": f"data = {{ pairs = 1 }}\n{SHARED}batch_tokens = 512\n",
    "kto": f"data = {{ pairs = 1 }}\n{SHARED}batch_tokens = 512\n",
    "ppo": f"data = {{ questions = 1 }}\n{SHARED}{REWARDS}prompts = 6\nmax_tokens = 24\nkl_target = 0.5\n",
    "grpo": f"data = {{ questions = 1 }}\n{SHARED}{REWARDS}prompts = 4\ngroup_size = 4\nmax_tokens = 24\n"
    "minibatches = 2\nkl = 0.1\n",
    "best_of_n": f"data = {{ questions = 1 }}\nheld_out = 0.0\n{REWARDS}samples = 3\nmax_tokens = 24\n",
}
# A file that is opened in the middle of the stage, and the how-manieth time.
MOMENTS = {kind: (f"/{kind}/train.jsonl", 4) for kind in STAGES} | {"best_of_n": ("/best_of_n/", 2)}


@pytest.fixture(scope="module")
def recipe(asked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(shutil.copytree(asked.parent, tmp_path_factory.mktemp("killed") / "tales"))
    rows = [
        {"prompt": f"who sees the {noun}?", "chosen": f"the cat sees the {noun}.", "rejected": f"the fox sees {noun}"}
        for noun in "dog fox hen owl rat cow".split()
    ]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = '[data.questions]\nkind = "prompts"\npath = "questions.jsonl"\n'
    data += '[data.pairs]\nkind = "preferences"\npath = "pairs.jsonl"\n'
    stages = "".join(f'[stages.{kind}]\nkind = "{kind}"\nfrom = "chat"\n{text}' for kind, text in STAGES.items())
    path = folder / "all.toml"
    path.write_text(f"{asked.read_text()}\n{data}{stages}")
    return path


@pytest.mark.slow
def test_every_stage_that_is_killed_resumes_bit_for_bit_samples_included(
    recipe: Path, tales_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(tiny_rl.__file__).parent) + os.pathsep + os.environ.get("PYTHONPATH", ""))
    whole, out = (Path(shutil.copytree(tales_run.folder, tmp_path / name)) for name in ("whole", "out"))
    done = run(recipe, whole, overrides=["evaluate={}"])
    assert done.returncode == 0, done.stderr
    for kind, (part, moment) in MOMENTS.items():
        killed = run(recipe, out, signal.SIGKILL, moment, part, ["evaluate={}"])
        assert killed.returncode == -signal.SIGKILL, (kind, killed.stdout, killed.stderr)
        assert (out / kind).exists()
        assert not (out / kind / "stage.json").exists()
        if kind != "best_of_n":
            assert 0 < len((out / kind / "train.jsonl").read_text().splitlines()) < 5, kind
    done = run(recipe, out, overrides=["evaluate={}"])
    assert done.returncode == 0, done.stderr
    for kind in STAGES:
        files = ("data.jsonl",) if kind == "best_of_n" else ("train.jsonl", "model.safetensors")
        for name in files:
            assert (whole / kind / name).read_bytes() == (out / kind / name).read_bytes(), (kind, name)
