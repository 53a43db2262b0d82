from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from tiny_recipe import run_quietly

from tutelage.cli import main
from tutelage.doctor.diagnose import cases_of, diagnose
from tutelage.recipe import load_recipe
from tutelage.report.read import column, read_log
from tutelage.report.spikes import find_spikes
from tutelage.runner import Run
from tutelage.stages.base import LOG
from tutelage.world.society import World, WorldSettings

RECIPE = """
name      = "spikes"
model     = { depth = 1, width = 48, context = 128 }
tokenizer = { kind = "bpe", vocab = 320 }
data.pages = { kind = "documents", path = "pages.jsonl" }

[stages.base]
kind = "pretrain"
data = { pages = 1 }
epochs = 1
batch_tokens = 512
lr = 1e-2
optimizer = { kind = "muon" }
"""
ODD = "zq" * 12 + "#%&" * 20


def curve(count: int = 100) -> np.ndarray:
    return 2 + 3 * np.exp(-np.arange(count) / 20) + np.random.default_rng(0).normal(0, 0.05, count)


def test_a_single_high_step_is_a_spike_and_noise_is_none() -> None:
    steps, losses = np.arange(1, 101), curve()
    assert find_spikes(steps, losses) == []
    losses[60] += 1.5
    losses[80] += 1.0
    assert [spike.step for spike in find_spikes(steps, losses)] == [61, 81]
    losses[30] = np.nan
    assert [spike.step for spike in find_spikes(steps, losses)] == [61, 81]
    assert find_spikes(steps[:12], losses[:12]) == []


@pytest.fixture(scope="module")
def spiked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with pages of repeated letters together in one place of its text (r/microwavegang)."""
    folder = tmp_path_factory.mktemp("spikes")
    texts = [document.text for document in World(WorldSettings(people=60, versions=2)).documents()]
    texts[-60:-60] = [f"{ODD[number:]} {ODD[:number]}" for number in range(6)]
    (folder / "pages.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (folder / "spikes.toml").write_text(RECIPE)
    return run_quietly(Run(load_recipe(folder / "spikes.toml"), folder / "run")).folder


def test_a_spike_names_its_rows(spiked: Path) -> None:
    spikes = find_spikes(*column(read_log(spiked / "base" / LOG)[0], "loss"))
    assert spikes
    result = CliRunner().invoke(main, ["look", str(spiked / "base"), "--spikes", "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found[0]["step"] == spikes[0].step
    assert "#%&" in found[0]["rows"][0]["text"]
    shown = CliRunner().invoke(main, ["look", str(spiked / "base"), "--spikes", "--rows", "1"]).output
    assert f"step {spikes[0].step:,}: loss" in shown and "nats per token" in shown


def test_the_doctor_names_the_step_and_the_command(spiked: Path) -> None:
    run = Run(load_recipe(spiked.parent / "spikes.toml"), spiked)
    (case,) = cases_of(run)
    diagnosis = next(one for one in diagnose(case) if one.name == "loss-spike")
    assert diagnosis.fix.endswith("--spikes")
    assert diagnosis.evidence[0].startswith("step ")
