"""The published training of DeepSeek-V4 as a recipe, at the size of a test."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_recipe import run_quietly

from tutelage.model.hub import load_model
from tutelage.model.save import MTP
from tutelage.model.settings import YarnScaling
from tutelage.recipe import load_recipe
from tutelage.runner import Run

RECIPE = Path(__file__).parents[2] / "recipes" / "v4.toml"
TINY = [
    "model.depth=1", "model.width=32", "data.world.versions=1", "stages.base.steps=10", "stages.middle.steps=1",
    "stages.long.steps=1", "stages.base.batch_schedule=[[400,512],[1200,1024]]", "stages.base.schedule.warmup_steps=2",
]  # fmt: skip


def test_the_recipe_runs_with_its_schedule_batch_ramp_losses_and_contexts(tmp_path: Path) -> None:
    run = run_quietly(Run(load_recipe(RECIPE, TINY), tmp_path))
    lines = [json.loads(line) for line in (tmp_path / "base" / "train.jsonl").read_text().splitlines()]
    rates = [line["lr"] / 1e-2 for line in lines]
    assert rates == pytest.approx([0.5, 1, 1, 1, 1, 1, 1, 1, 0.55, 0.1])  # warm-up, constant, a half cosine to a tenth
    ends = [line["tokens"] for line in lines]
    sizes = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    assert max(sizes[:2]) <= 256 < sizes[3] <= 512 < sizes[-1]
    assert {"loss", "mtp.1", "router.balance", "router.max_load", "router.smallest_margin"} <= lines[-1].keys()
    base, long = (load_model(tmp_path / name, mtp=True).model for name in ("base", "long"))
    assert (base.config.sinks, base.config.mtp, base.config.context) == (True, 1, 32)
    assert (long.config.mtp, long.config.context) == (1, 512)
    assert long.config.rope_scaling == YarnScaling(
        factor=16.0, original_context=32, magnitude=long.config.rope_scaling.magnitude
    )
    assert base.blocks[0].router.selection_bias.abs().max() > 0
    assert float(base.blocks[0].sinks.weight.detach().abs().max()) > 0
    assert (tmp_path / "long" / MTP).exists()
    stage = run.recipe.stages["base"]
    assert (stage.optimizer.kind, stage.optimizer.update_rms, stage.optimizer.eps) == ("muon", 0.18, 1e-20)
