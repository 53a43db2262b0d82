from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from tutelage import progress
from tutelage import tokenizer as tokenizers
from tutelage.corpus.quality.ngrams import train_ngrams
from tutelage.recipe import load_recipe
from tutelage.runner import Run
from tutelage.scaling.baselines import Baseline, compare_baselines, comparison, comparison_lines, drawn_segments
from tutelage.scaling.page import baselines_page

RECIPE = """
name      = "tiny"
model     = { depth = 1, width = 32, context = 64 }
tokenizer = { kind = "bpe", vocab = 300 }
[data]
world = { kind = "world", people = 20, versions = 2 }
[stages.base]
kind = "pretrain"
data = { world = 1 }
steps = 30
batch_tokens = 1024
lr = 1e-2
held_out = 0.1
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("baselines")
    (folder / "tiny.toml").write_text(RECIPE)
    run = Run(load_recipe(folder / "tiny.toml"), folder / "run")
    progress.set_mode("quiet")
    try:
        run.run()
    finally:
        progress.set_mode("auto")
    return run


@pytest.fixture(scope="module")
def models(run: Run) -> list[Baseline]:
    progress.set_mode("quiet")
    try:
        return compare_baselines(run, "base", order=3, layers=1, lr=1e-2)
    finally:
        progress.set_mode("auto")


def test_all_models_predict_the_same_tokens(models: list[Baseline]) -> None:
    for model in models[1:]:
        for row, other in zip(models[0].losses, model.losses, strict=True):
            assert (np.isfinite(row) == np.isfinite(other)).all()
    assert all(math.isnan(row[0]) for row in models[0].losses)


def test_the_transformers_loss_is_that_of_its_stage(run: Run, models: list[Baseline]) -> None:
    stage = json.loads((run.folder / "base" / "stage.json").read_text())
    result = comparison(models)
    assert result["models"][0]["loss"] == pytest.approx(stage["held_out"]["world"], rel=1e-5)
    assert result["models"][0]["change"]["value"] == 0


def test_every_model_has_learned_and_the_lstm_is_no_larger(models: list[Baseline]) -> None:
    result = comparison(models)
    assert [row["name"] for row in result["models"]] == ["transformer", "LSTM", "3-gram"]
    assert all(row["loss"] < math.log(300) - 0.5 for row in result["models"])
    transformer, lstm, _ = (model.parameters for model in models)
    assert transformer is not None
    assert lstm is not None
    assert 0.8 * transformer < lstm <= transformer
    lines = list(comparison_lines(result))
    assert any(line.startswith("  LSTM, ") and "(95%: " in line for line in lines)
    assert "<svg" in baselines_page(result)


def test_the_ngram_loss_of_a_token_is_that_of_its_history(run: Run, models: list[Baseline]) -> None:
    at, stage = run.context("base"), run.trained_stage("base")
    stores = at.stores(stage.held_out).text("world", tokenizers.load(at.tokenizer), 64)
    ngrams = train_ngrams(drawn_segments(stores.train, run.stage_done("base")["tokens"], run.recipe.seed), 300, 3)
    tokens = stores.held_out.group(0)[0].tokens
    alone = -ngrams.log_probabilities([tokens[:6]])
    assert models[2].losses[0][1:6] == pytest.approx(alone[1:6])


def test_counts_are_of_as_much_text_as_the_transformer_read(run: Run) -> None:
    stage, at = run.trained_stage("base"), run.context("base")
    store = at.stores(stage.held_out).text("world", tokenizers.load(at.tokenizer), 64).train
    everything = sum(len(segment) for segment in drawn_segments(store, 10**9, 0))
    assert everything == int(store.tokens_G.sum())
    for tokens in (1, 500, everything - 1):
        segments = drawn_segments(store, tokens, 0)
        assert tokens <= sum(map(len, segments)) < tokens + 64 + 1
    assert not np.array_equal(drawn_segments(store, 1, 0)[0], drawn_segments(store, 1, 1)[0])


def test_the_mean_by_position_skips_what_is_not_predicted() -> None:
    model = Baseline("x", None, [np.array([np.nan, 1.0, 2.0]), np.array([np.nan, 3.0])])
    assert model.by_position(1, 2) == 2
    assert model.by_position(2, 3) == 2
    assert math.isnan(model.by_position(0, 1))


def test_a_stage_that_is_not_pre_training_is_refused(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "two.toml"
    path.write_text(
        RECIPE.replace("world = 1 }", "world = 1, more = 1 }").replace("[stages", 'more = { kind = "world" }\n[stages')
    )
    with pytest.raises(ValueError, match="stage base is not pre-training on one data set"):
        compare_baselines(Run(load_recipe(path), tmp_path / "run"), "base")
