from __future__ import annotations

import json
import shutil
from itertools import islice
from pathlib import Path

import msgspec
import pytest
from tiny_recipe import run_quietly

from tutelage.config import SettingsError, recipes_folder, to_plain, to_toml
from tutelage.model.hub import load_config
from tutelage.model.sizes import parameter_count
from tutelage.plan import plan
from tutelage.recipe import load_recipe
from tutelage.runner import Run
from tutelage.sft_recipe import DataSize, evals_during_training, parse_data, parse_replay, sft_recipe, text_data
from tutelage.stages.data_files import ChatData, DocumentData, TextData
from tutelage.stages.sft import Sft
from tutelage.stages.train_stage import set_up
from tutelage.train.lr_range_test import default_lr


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny base model."""
    folder = tmp_path_factory.mktemp("finetune") / "tiny"
    run_quietly(Run(load_recipe(recipes_folder() / "tiny.toml", ["stages.base.steps=2"]), folder), "base")
    return folder / "base"


def rows(folder: Path, count: int) -> Path:
    path = folder / "mine.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"Number {i}?", "completion": "Yes."}) + "\n" for i in range(count)))
    return path


def tuned(base: Path, data: Path, *settings: str, held_out: Path | None = None) -> Sft:
    """The stage of the recipe; `settings` are those of the stage."""
    overrides = [f"stages.sft.{setting}" for setting in settings]
    stage = sft_recipe(base, data, held_out=held_out, overrides=overrides).stages["sft"]
    assert isinstance(stage, Sft)
    return stage


def test_the_defaults_follow_the_rows(base: Path, tmp_path: Path) -> None:
    few = tuned(base, rows(tmp_path, 10))
    assert (few.steps, few.epochs, few.replay, few.held_out, few.train_on) == (100, None, 0.5, 0.0, "assistant")
    some = tuned(base, rows(tmp_path, 150))
    assert (some.steps, some.held_out) == (100, 0.05)
    many = tuned(base, rows(tmp_path, 1000))
    assert (many.steps, many.epochs, many.batch_tokens) == (None, 3, None)
    assert (some.evaluate_every, some.keep) == (0, "last")
    assert (many.evaluate_every, many.keep) == ("epoch", "best_eval")
    said = tuned(base, rows(tmp_path, 10), "epochs=2", "replay=0.0", "lr=1e-3", "train_on=all_tokens", "seed=4")
    assert (said.steps, said.epochs, said.replay, said.lr, said.train_on, said.seed) == (
        None,
        2,
        0.0,
        1e-3,
        "all_tokens",
        4,
    )


def test_what_a_step_reads_and_what_is_held_out_can_be_said(base: Path, tmp_path: Path) -> None:
    others = tmp_path / "others.jsonl"
    others.write_bytes(rows(tmp_path, 12).read_bytes())
    data = rows(tmp_path, 150)
    said = tuned(base, data, "batch_tokens=700", "schedule.warmup=0.1", "epochs=2", held_out=others)
    assert (said.batch_tokens, said.schedule.warmup, said.held_out) == (700, 0.1, 0.0)
    assert (said.evaluate_every, said.keep) != (0, "last")  # enough are held out to select by
    chat = sft_recipe(base, data, held_out=others).data["chat"]
    assert isinstance(chat, ChatData)
    assert chat.held_out == str(others.resolve())
    others.write_bytes(rows(tmp_path, 3).read_bytes())
    assert tuned(base, rows(tmp_path, 150), held_out=others).evaluate_every == 0
    others.write_text("")
    with pytest.raises(ValueError, match=r"others.jsonl has no rows"):
        sft_recipe(base, data, held_out=others)


def test_a_model_of_unknown_making_gets_a_rate_by_its_size_and_has_nothing_to_replay(
    base: Path, tmp_path: Path
) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    for path in base.iterdir():
        if path.is_file():
            (alone / path.name).write_bytes(path.read_bytes())
    data = rows(tmp_path, 10)
    assert sft_recipe(alone, data).stages["sft"].lr == default_lr(parameter_count(load_config(alone)))
    recipe = sft_recipe(alone, data, overrides=["stages.sft.lr=1e-3"])
    assert tuned(alone, data, "lr=1e-3").replay == 0
    assert recipe.evaluate == {"sft": ["format", "forgetting"]}
    with pytest.raises(SettingsError, match="--replay needs the text that .* was trained on"):
        tuned(alone, data, "lr=1e-3", "replay=0.5")


def test_of_a_model_that_cannot_encode_the_texts_of_the_probe_forgetting_is_not_measured(
    tales_run: Run, tales: Path, tmp_path: Path
) -> None:
    alone = Path(shutil.copytree(tales_run.folder / "base", tmp_path / "alone"))
    chats = tales.parent / "chat.jsonl"
    recipe = sft_recipe(alone, chats, overrides=["stages.sft.epochs=1"])
    assert recipe.evaluate == {"sft": ["format", "held_out_rows"]}
    assert Run(recipe, tmp_path / "run").run()["evaluate.sft.format.compliant.rate"] >= 0
    with pytest.raises(SettingsError, match="^--max-forgetting needs text that the tokenizer of .* can encode"):
        tuned(alone, chats, "max_forgetting=0.1")
    overrides = ["stages.sft.replay=0.1", "stages.sft.max_forgetting=0.1"]
    replayed = sft_recipe(alone, chats, replay_file=tales.parent / "tales.txt", overrides=overrides)
    assert replayed.evaluate == {"sft": ["format", "held_out_rows", "forgetting"]}


def test_text_of_another_file_is_replayed_where_it_is_named(base: Path, tmp_path: Path) -> None:
    docs = tmp_path / "docs.jsonl"
    docs.write_text("".join(json.dumps({"text": f"Number {number} is a number."}) + "\n" for number in range(20)))
    data = rows(tmp_path, 10)
    recipe = sft_recipe(base, data, replay_file=docs, overrides=["stages.sft.replay=0.05"])
    stage = recipe.stages["sft"]
    assert isinstance(stage, Sft)
    assert (stage.replay, stage.replay_data, recipe.data["documents"]) == (
        0.05,
        {"documents": 1.0},
        DocumentData(path=str(docs)),
    )
    assert "world" in recipe.data  # on which forgetting is measured too


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("0.05", (None, 0.05)),
        ("0", (None, 0.0)),
        ("docs.parquet=0.05", (Path("docs.parquet"), 0.05)),
        ("a=b.txt=.5", (Path("a=b.txt"), 0.5)),
    ],
)
def test_what_is_replayed_is_a_share_or_a_file_and_a_share(said: str, found: tuple[Path | None, float]) -> None:
    assert parse_replay(said) == found


@pytest.mark.parametrize("said", ["docs.parquet", "1", "-0.1", "nan", "docs.parquet=", "docs.parquet=1.5", ""])
def test_what_is_neither_is_one_sentence(said: str) -> None:
    with pytest.raises(SettingsError, match=f"^--replay is '{said}'; give the share"):
        parse_replay(said)


def test_a_file_of_which_nothing_is_replayed_is_a_mistake() -> None:
    with pytest.raises(SettingsError, match="^--replay names docs.txt but replays nothing of it"):
        parse_replay("docs.txt=0")


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.txt", TextData), ("book", TextData), ("a.jsonl.gz", DocumentData), ("a.parquet", DocumentData)],
)
def test_the_name_of_a_file_tells_rows_from_plain_text(name: str, kind: type) -> None:
    assert isinstance(text_data(Path(name)), kind)


@pytest.mark.parametrize(
    ("rows", "held_out", "steps", "epochs", "every"),
    [
        (DataSize(True, 150, 8000, 90), 7, 100, None, 0),  # a handful held out: nothing to select by
        (DataSize(True, 150, 8000, 90), 10, 100, None, 20),
        (DataSize(True, 300, 8000, 90), 15, 100, None, 20),  # 8 steps an epoch: many epochs, and five evaluations
        (DataSize(True, 300, 8000, 90), 15, None, 3, "epoch"),
        (DataSize(True, 300, 8000, 90), 15, None, 10, 16),
        (DataSize(False, 1000, 90_000, 900), 50, None, 3, "epoch"),
        (DataSize(False, 1000, 90_000, 900), 50, None, 8, "epoch"),  # long epochs, whose number of steps is not known
    ],
)
def test_evaluations_come_at_the_end_of_epochs_and_never_too_often(
    rows: DataSize, held_out: int, steps: int | None, epochs: int | None, every: object
) -> None:
    assert evals_during_training(rows, held_out, 1000, steps, epochs) == every


def test_every_setting_of_the_recipe_can_be_given_by_its_name(base: Path, tmp_path: Path) -> None:
    overrides = ["stages.sft.schedule.kind=cosine", "stages.sft.save_every=5", "seed=7", "name=mine"]
    recipe = sft_recipe(base, rows(tmp_path, 10), overrides=[*overrides, "evaluate.sft=['format']"])
    stage = recipe.stages["sft"]
    assert isinstance(stage, Sft)
    assert (stage.schedule.kind, stage.save_every) == ("cosine", 5)
    assert (recipe.seed, recipe.name, recipe.evaluate) == (7, "mine", {"sft": ["format"]})
    # Everything else is as without them.
    plain = tuned(base, rows(tmp_path, 10))
    assert msgspec.structs.replace(stage, schedule=plain.schedule, save_every=0) == plain


def test_a_part_of_a_table_leaves_its_other_defaults(base: Path, tmp_path: Path) -> None:
    """The optimizer is that of the base, in all but what is set of it."""
    data = rows(tmp_path, 10)
    default = tuned(base, data).optimizer
    assert default.kind == "muon"
    found = tuned(base, data, "optimizer.clip=0.5").optimizer
    assert found == msgspec.structs.replace(default, clip=0.5)
    found = tuned(base, data, "lora.alpha=8.0", "lora.rank=2", "optimizer.clip=0.5")
    assert (found.optimizer.kind, found.optimizer.clip) == ("adamw", 0.5)
    assert (found.lora.rank, found.lora.alpha) == (2, 8.0)


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("stages.sft.scheduel.kind=cosine", "stages.sft has no setting 'scheduel'; did you mean 'schedule'?"),
        ("stages.sft.batch_tokens=many", "stages.sft.batch_tokens must be a whole number, and 'many' is not"),
        ("stages.sft.held_out='0.1'", "stages.sft.held_out must be a number, and '0.1' is not; drop the quotes: 0.1"),
        ("stages.stf.epochs=1", "there is no stage 'stf'; did you mean 'sft'?"),
        ("stages.sft.replay=2", "--replay is 2; it is a share of the trained tokens: at least 0, below 1"),
        ("stages.sft.max_refused=2", "max_refused is 2.0; it is a share of the rows, from 0 to 1"),
    ],
)
def test_a_mistaken_setting_is_one_sentence(base: Path, tmp_path: Path, setting: str, sentence: str) -> None:
    with pytest.raises(SettingsError) as error:
        sft_recipe(base, rows(tmp_path, 10), overrides=[setting])
    assert str(error.value).endswith(sentence)


def test_the_written_recipe_is_the_recipe_that_would_run(base: Path, tmp_path: Path) -> None:
    """Field failure: nobody could see, change or keep what `tutelage sft` runs."""
    recipe = sft_recipe(base, rows(tmp_path, 30), overrides=["stages.sft.lora.rank=4"])
    (tmp_path / "mine.toml").write_text(to_toml(to_plain(recipe)))
    assert load_recipe(tmp_path / "mine.toml") == recipe


def test_several_files_are_mixed_by_their_shares(base: Path, tmp_path: Path) -> None:
    first, second = rows(tmp_path, 12), tmp_path / "b=c.jsonl"
    second.write_bytes(first.read_bytes())
    assert parse_data(f"{first}=2") == (first, 2.0)
    assert parse_data(str(second)) == (second, 1.0)
    recipe = sft_recipe(base, dict([parse_data(f"{first}=2"), parse_data(str(second))]))
    assert recipe.stages["sft"].data == {"chat": 2.0, "chat2": 1.0}
    assert [recipe.data[name].path for name in ("chat", "chat2")] == [str(first), str(second)]  # type: ignore[union-attr]
    with pytest.raises(SettingsError, match="^--data is 'a.jsonl=0'; give a file and a share above 0"):
        parse_data("a.jsonl=0")


def test_a_recipe_on_a_checkpoint_has_the_defaults_of_sft(base: Path, tmp_path: Path) -> None:
    """Field failure: a recipe of few rows trained one step in silence, wanted a learning rate, and measured nothing."""
    alone = Path(shutil.copytree(base, tmp_path / "alone"))
    path = tmp_path / "mine.toml"
    path.write_text(
        f"""name = "mine"
[data]
chat = {{ kind = "chat", path = "{rows(tmp_path, 120).name}" }}
[stages.base]
kind = "model"
path = "{alone}"
[stages.chat]
kind = "sft"
from = "base"
data = {{ chat = 1 }}
"""
    )
    recipe = load_recipe(path)
    stage = recipe.stages["chat"]
    assert isinstance(stage, Sft)
    assert (stage.epochs, stage.lr, stage.batch_tokens) == (3, None, None)
    assert recipe.evaluate == {"chat": ["format", "held_out_rows", "forgetting"]}
    assert recipe.stages["base"].data == {"probe": 1.0}
    run = Run(recipe, tmp_path / "run")
    planned = plan(run)["stages"]["chat"]
    setup = set_up(stage, run.context("chat"))
    assert setup.lr == default_lr(parameter_count(load_config(alone)))
    assert setup.stream.steps == pytest.approx(planned["steps"], abs=1)
    assert setup.stream.steps >= 9
    assert load_recipe(path, ["evaluate.chat=[]"]).evaluate == {"chat": []}


def test_one_step_in_all_is_said(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = sft_recipe(base, rows(tmp_path, 12), overrides=["stages.sft.epochs=1", "stages.sft.batch_tokens=99999"])
    run = Run(recipe, tmp_path / "run")
    said = "stage sft: 1 optimizer step in all, too few to learn from; give it smaller steps (batch_rows = 8)"
    assert plan(run)["stages"]["sft"]["warning"].startswith(said)
    set_up(run.trained_stage("sft"), run.context("sft"))
    assert said in capsys.readouterr().err


def test_a_step_may_be_so_many_rows(base: Path, tmp_path: Path) -> None:
    recipe = sft_recipe(base, rows(tmp_path, 12), overrides=["stages.sft.batch_rows=5", "stages.sft.replay=0.0"])
    run = Run(recipe, tmp_path / "run")
    stream = set_up(run.trained_stage("sft"), run.context("sft")).stream
    sizes = [sum(len(batch.lengths) for batch in micro) for micro, _ in islice(stream.batches(None, True), 3)]
    assert sizes == [5, 5, 5]
    with pytest.raises(SettingsError, match="batch_rows = 5 and batch_tokens = 64 both say how large a step is"):
        tuned(base, rows(tmp_path, 12), "batch_rows=5", "batch_tokens=64")
