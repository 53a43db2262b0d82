from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tutelage import progress
from tutelage.config import SettingsError, recipes_folder
from tutelage.finetune import Rows, find_base, find_model, finetune_recipe, looks_of, replay_of, text_of
from tutelage.model.hub import load_config
from tutelage.model.sizes import parameter_count
from tutelage.recipe import Run, load_recipe
from tutelage.stages.data import ChatData, DocumentData, TextData
from tutelage.stages.settings import PretrainedModel, Sft
from tutelage.train.find_lr import default_rate


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


def tuned(base: Path, data: Path, **options: object) -> Sft:
    stage = finetune_recipe(base, data, **options).stages["sft"]  # type: ignore[arg-type]
    assert isinstance(stage, Sft)
    return stage


def test_of_a_runs_stage_its_text_rate_and_optimizer_are_known(base: Path) -> None:
    found = find_base(base)
    assert found.stage == PretrainedModel(
        path=str(base), data={"world": 1.0}, held_out=0.02, lr=6e-3, batch_tokens=1024
    )
    assert found.optimizer.kind == "muon"
    assert list(found.data) == ["world"]


def test_the_defaults_follow_the_rows(base: Path, tmp_path: Path) -> None:
    few = tuned(base, rows(tmp_path, 10))
    assert (few.steps, few.epochs, few.replay, few.held_out, few.train_on) == (100, None, 0.5, 0.0, "assistant")
    some = tuned(base, rows(tmp_path, 150))
    assert (some.steps, some.held_out) == (100, 0.05)
    many = tuned(base, rows(tmp_path, 1000))
    assert (many.steps, many.epochs, many.batch_tokens) == (None, 3, 2 * 8192)
    assert (some.evaluate_every, some.keep) == (0, "last")
    assert (many.evaluate_every, many.keep) == ("epoch", "behaviour")
    said = tuned(base, rows(tmp_path, 10), epochs=2, replay=0.0, lr=1e-3, train_on="all_tokens", seed=4)
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
    said = tuned(base, data, batch_tokens=700, warmup=0.1, held_out=others, epochs=2)
    assert (said.batch_tokens, said.schedule.warmup, said.held_out) == (700, 0.1, 0.0)
    assert (said.evaluate_every, said.keep) != (0, "last")  # enough are held out to choose by
    chat = finetune_recipe(base, data, held_out=others).data["chat"]
    assert isinstance(chat, ChatData)
    assert chat.held_out == str(others.resolve())
    others.write_bytes(rows(tmp_path, 3).read_bytes())
    assert tuned(base, rows(tmp_path, 150), held_out=others).evaluate_every == 0
    others.write_text("")
    with pytest.raises(ValueError, match=r"others.jsonl has no rows"):
        finetune_recipe(base, data, held_out=others)


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


def test_of_a_model_that_cannot_write_the_texts_of_the_probe_forgetting_is_not_measured(
    tales_run: Run, tales: Path, tmp_path: Path
) -> None:
    alone = Path(shutil.copytree(tales_run.folder / "base", tmp_path / "alone"))
    chats = tales.parent / "chat.jsonl"
    recipe = finetune_recipe(alone, chats, epochs=1)
    assert recipe.evaluate == {"sft": ["format"]}
    assert Run(recipe, tmp_path / "run").run()["evaluate.sft.format.rate"] >= 0
    with pytest.raises(SettingsError, match="^--max-forgetting needs text that .* can write; name some"):
        finetune_recipe(alone, chats, max_forgetting=0.1)
    replayed = finetune_recipe(alone, chats, replay=0.1, replay_file=tales.parent / "tales.txt", max_forgetting=0.1)
    assert replayed.evaluate == {"sft": ["format", "forgetting"]}


def test_text_of_another_file_is_replayed_where_it_is_named(base: Path, tmp_path: Path) -> None:
    docs = tmp_path / "docs.jsonl"
    docs.write_text("".join(json.dumps({"text": f"Number {number} is a number."}) + "\n" for number in range(20)))
    data = rows(tmp_path, 10)
    recipe = finetune_recipe(base, data, replay=0.05, replay_file=docs)
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
    assert replay_of(said) == found


@pytest.mark.parametrize("said", ["docs.parquet", "1", "-0.1", "nan", "docs.parquet=", "docs.parquet=1.5", ""])
def test_what_is_neither_is_one_sentence(said: str) -> None:
    with pytest.raises(SettingsError, match=f"^--replay is '{said}'; give the share"):
        replay_of(said)


def test_a_file_of_which_nothing_is_replayed_is_a_mistake() -> None:
    with pytest.raises(SettingsError, match="^--replay names docs.txt but replays nothing of it"):
        replay_of("docs.txt=0")


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.txt", TextData), ("book", TextData), ("a.jsonl.gz", DocumentData), ("a.parquet", DocumentData)],
)
def test_the_name_of_a_file_tells_rows_from_plain_text(name: str, kind: type) -> None:
    assert isinstance(text_of(Path(name)), kind)


@pytest.mark.parametrize(
    ("rows", "held_out", "steps", "epochs", "every"),
    [
        (Rows(True, 150, 8000, 90), 7, 100, None, 0),  # a handful held out: nothing to choose by
        (Rows(True, 150, 8000, 90), 10, 100, None, 20),
        (Rows(True, 300, 8000, 90), 15, 100, None, 20),  # 8 steps a pass: many passes, and five looks
        (Rows(True, 300, 8000, 90), 15, None, 3, "epoch"),
        (Rows(True, 300, 8000, 90), 15, None, 10, 16),
        (Rows(False, 1000, 90_000, 900), 50, None, 3, "epoch"),
        (Rows(False, 1000, 90_000, 900), 50, None, 8, "epoch"),  # long passes, whose number of steps is not known
    ],
)
def test_looks_come_at_the_end_of_passes_and_never_too_often(
    rows: Rows, held_out: int, steps: int | None, epochs: int | None, every: object
) -> None:
    assert looks_of(rows, held_out, 1000, steps, epochs) == every
