from __future__ import annotations

import json
import shutil
from itertools import combinations
from pathlib import Path

import pytest
import torch
from tiny_recipe import run_quietly

from tutelage.cli.open_run import open_stage
from tutelage.config import recipes_folder
from tutelage.files import LOCK, resolve_folder
from tutelage.find_model import find_base, find_model
from tutelage.model.hub import load_model
from tutelage.recipe import load_recipe
from tutelage.runner import Run
from tutelage.sft_recipe import sft_recipe
from tutelage.stages.pretrained_model import PretrainedModel


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny base model."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    run_quietly(Run(load_recipe(recipes_folder() / "tiny.toml", ["stages.base.steps=2"]), folder), "base")
    return folder / "base"


def test_of_a_runs_stage_its_text_rate_and_optimizer_are_known(base: Path) -> None:
    found = find_base(base)
    assert found.stage == PretrainedModel(
        path=str(base), data={"world": 1.0}, held_out=0.02, lr=2.4e-2, batch_tokens=1024
    )
    assert found.optimizer.kind == "muon"
    assert list(found.data) == ["world"]


def test_the_model_of_a_run_is_its_last_finished_stage_and_a_folders_the_folder_itself(base: Path) -> None:
    assert find_model(base) == find_model(base.parent) == base


@pytest.fixture(scope="module")
def kept(tales: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that keeps weights of its chat stage on the way."""
    settings = ["base.steps=2", "chat.steps=23", "chat.evaluate_every=0", "chat.save_every=10"]
    run = Run(
        load_recipe(tales, ["evaluate={}", *(f"stages.{setting}" for setting in settings)]),
        tmp_path_factory.mktemp("kept") / "run",
    )
    return run_quietly(run).folder.resolve()


def test_weights_that_were_kept_are_a_model_of_their_own(kept: Path) -> None:
    assert sorted(path.name for path in kept.glob("chat@*")) == ["chat@10", "chat@20"]
    assert find_model(kept / "chat@20") == kept / "chat@20"
    assert find_model(kept) == kept / "chat"
    weights = [load_model(find_model(kept / name)).model.embedding.weight for name in ("chat@10", "chat@20", "chat")]
    assert not any(torch.equal(one, other) for one, other in combinations(weights, 2))
    base = find_base(kept / "chat@20")
    assert base.known
    assert (base.stage.path, base.stage.data, base.stage.lr) == (str(kept / "chat@20"), {"tales": 1.0}, 1e-2)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("chat@30", "has no weights of step 30 of 'chat' (kept: 10, 20)"),
        ("chat@last", "has no weights of step last of 'chat' (kept: 10, 20)"),
        ("base@1", "has no weights of step 1 of 'base' (kept: none; set save_every)"),
        ("caht@10", "has no stage 'caht'; did you mean 'chat'?"),
        ("caht", "has no stage 'caht'; did you mean 'chat'?"),
    ],
)
def test_a_wrong_step_or_stage_gets_the_names_that_there_are(kept: Path, name: str, sentence: str) -> None:
    with pytest.raises(ValueError, match="has no") as error:
        find_model(kept / name)
    assert str(error.value) == f"{kept} {sentence}"


def test_a_folder_beside_them_that_is_named_otherwise_is_left_alone(kept: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(kept, tmp_path / "run"))
    (copy / "chat@best").mkdir()
    with pytest.raises(ValueError, match=r"\(kept: 10, 20\)$"):
        find_model(copy / "chat@30")


OLD = r"was written by another version of Tutelage, which this one cannot read; make it again in another folder: "
REMAKE = OLD + r"tutelage run RECIPE out=DIR, or tutelage sft \.\.\. --out DIR$"


def test_a_run_a_stage_and_a_checkpoint_of_an_older_version_are_refused(
    kept: Path, tales: Path, tmp_path: Path
) -> None:
    """Version 0.1 wrote no layout into recipe.json, and position.json into its checkpoints."""
    old = Path(shutil.copytree(kept, tmp_path / "old"))
    recipe = json.loads((old / "recipe.json").read_text())
    del recipe["format"]
    (old / "recipe.json").write_text(json.dumps(recipe))
    for stage in ("base", "chat"):
        checkpoint = resolve_folder(old / stage / "checkpoint")
        (checkpoint / "state.json").rename(checkpoint / "position.json")
    (old / "chat" / "stage.json").unlink()  # it was stopped, and would be resumed

    def state() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in old.rglob("*") if path.name != LOCK}

    before = state()
    settings = ["stages.base.steps=2", "stages.chat.steps=23"]
    for use in (
        lambda: find_model(old),
        lambda: find_base(old / "base"),
        lambda: open_stage(old / "chat"),
        lambda: open_stage(old),
        lambda: Run(load_recipe(tales, settings), old).run(),
        lambda: sft_recipe(old / "base", tales.parent / "chat.jsonl"),
    ):
        with pytest.raises(ValueError, match=REMAKE):
            use()
    assert state() == before


def test_a_recipe_that_is_no_table_is_one_sentence_too(kept: Path, tmp_path: Path) -> None:
    old = Path(shutil.copytree(kept, tmp_path / "old"))
    (old / "recipe.json").write_text("[]")
    with pytest.raises(ValueError, match=r"recipe.json is not a recipe; run the recipe again in another folder$"):
        find_model(old)
