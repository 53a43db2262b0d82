from __future__ import annotations

import json
from pathlib import Path

import pytest

from tutelage import progress
from tutelage.config import SettingsError, recipes_folder
from tutelage.finetune import default_rate, find_base, find_model, finetune_recipe
from tutelage.model.hub import load_config
from tutelage.model.sizes import parameter_count
from tutelage.recipe import Run, load_recipe
from tutelage.stages.settings import ModelFolder, SftSettings


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny base model."""
    folder = tmp_path_factory.mktemp("finetune") / "tiny"
    progress.set_mode("quiet")
    Run(load_recipe(recipes_folder() / "tiny.toml", ["stages.base.steps=2"]), folder).run(only="base")
    progress.set_mode("auto")
    return folder / "base"


def rows(folder: Path, count: int) -> Path:
    path = folder / "mine.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"Number {i}?", "completion": "Yes."}) + "\n" for i in range(count)))
    return path


def tuned(base: Path, data: Path, **options: object) -> SftSettings:
    stage = finetune_recipe(base, data, **options).stages["sft"]  # type: ignore[arg-type]
    assert isinstance(stage, SftSettings)
    return stage


def test_of_a_runs_stage_its_text_rate_and_optimizer_are_known(base: Path) -> None:
    found = find_base(base)
    assert found.stage == ModelFolder(path=str(base), data={"world": 1.0}, held_out=0.02, lr=6e-3, batch_tokens=1024)
    assert found.optimizer.kind == "muon"
    assert list(found.data) == ["world"]


def test_the_defaults_follow_the_rows(base: Path, tmp_path: Path) -> None:
    few = tuned(base, rows(tmp_path, 10))
    assert (few.steps, few.epochs, few.replay, few.held_out, few.train_on) == (100, None, 0.5, 0.0, "all")
    some = tuned(base, rows(tmp_path, 150))
    assert (some.steps, some.held_out) == (100, 0.05)
    many = tuned(base, rows(tmp_path, 1000))
    assert (many.steps, many.epochs, many.batch_tokens) == (None, 3, 2 * 8192)
    said = tuned(base, rows(tmp_path, 10), epochs=2, replay=0.0, lr=1e-3, train_on="everything", seed=4)
    assert (said.steps, said.epochs, said.replay, said.lr, said.train_on, said.seed) == (
        None,
        2,
        0.0,
        1e-3,
        "everything",
        4,
    )


def test_a_run_stands_for_its_last_finished_stage_and_a_model_for_itself(base: Path) -> None:
    assert find_model(base) == find_model(base.parent) == base


def test_a_model_of_unknown_making_gets_a_rate_by_its_size_and_has_nothing_to_replay(
    base: Path, tmp_path: Path
) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    for path in base.iterdir():
        if path.is_file():
            (alone / path.name).write_bytes(path.read_bytes())
    data = rows(tmp_path, 10)
    assert finetune_recipe(alone, data).stages["sft"].lr == default_rate(parameter_count(load_config(alone)))
    recipe = finetune_recipe(alone, data, lr=1e-3)
    assert tuned(alone, data, lr=1e-3).replay == 0
    assert recipe.evaluate == {"sft": ["format", "forgetting"]}
    with pytest.raises(SettingsError, match="--replay needs the text that .* was trained on"):
        finetune_recipe(alone, data, lr=1e-3, replay=0.5)
