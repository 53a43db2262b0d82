"""Recipes whose stages and data are folders and files that are there already."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tutelage.config import SettingsError
from tutelage.model.hub import load_tensors, save_tensors
from tutelage.plan import plan
from tutelage.recipe import load_recipe
from tutelage.runner import Run

SHORT = ["stages.base.steps=2", "stages.chat.steps=2", "stages.chat.evaluate_every=0", "evaluate.chat=['forgetting']"]


pytestmark = pytest.mark.usefixtures("quiet")


@pytest.fixture
def own(tales: Path, tmp_path: Path) -> Path:
    """The recipe with its files, to be changed."""
    return Path(shutil.copytree(tales.parent, tmp_path / "own")) / "tales.toml"


@pytest.fixture
def base(tales_run: Run, tmp_path: Path) -> Path:
    """A model's folder and nothing else."""
    folder = tmp_path / "base"
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        shutil.copy(tales_run.folder / "base" / name, folder)
    return folder


def from_folder(folder: Path, settings: str = "data={tales=1},lr=0.01") -> str:
    return f"stages.base={{kind='model',path='{folder}',{settings}}}"


def results(run: Run, suite: str) -> dict[str, Any]:
    return json.loads((run.folder / "chat" / "evaluate" / f"{suite}.json").read_text())["results"]


def test_a_stage_from_a_folder_is_the_stage_of_one_recipe(
    tales: Path, tales_run: Run, base: Path, tmp_path: Path
) -> None:
    """With the text it was trained on replayed, and forgetting measured on what it was kept from."""
    run = Run(load_recipe(tales, [from_folder(base)]), tmp_path / "run")
    run.run()
    for file in ("model.safetensors", "train.jsonl", "tokenizer.json", "config.json"):
        assert (run.folder / "chat" / file).read_bytes() == (tales_run.folder / "chat" / file).read_bytes(), file
    info = run.stage_done("chat")
    assert info is not None
    assert info["trained_by_dataset"]["replay.tales"] == pytest.approx(0.3 * info["trained_tokens"], rel=0.1)
    for suite in ("format", "forgetting"):
        assert results(run, suite) == results(tales_run, suite)
    assert not (run.folder / "base").exists()
    assert not (run.folder / "tokenizer").exists()
    assert sorted(path.name for path in base.iterdir()) == ["config.json", "model.safetensors", "tokenizer.json"]


def test_rate_and_replay_follow_from_what_is_said_of_the_model(
    own: Path, base: Path, tmp_path: Path, parts_of: Callable[[Run, str], Any]
) -> None:
    head, chat = own.read_text().split("[stages.chat]")
    own.write_text(head + "[stages.chat]" + chat.replace("lr = 1e-2\n", ""))
    told = Run(load_recipe(own, [from_folder(base, "data={tales=1},lr=0.06")]), tmp_path / "told")
    parts = parts_of(told, "chat")
    assert parts.setup.lr == pytest.approx(0.02)
    assert {name: dataset.share for name, dataset in parts.datasets.items()} == {"chat": 0.7, "replay.tales": 0.3}
    untold = Run(load_recipe(own, [from_folder(base, "data={tales=1}")]), tmp_path / "untold")
    assert parts_of(untold, "chat").setup.lr == 3e-4  # usual for a model of this size
    with pytest.raises(SettingsError, match="stages.chat.replay is 0.3, but no stage above it has text"):
        load_recipe(own, [from_folder(base, "lr=0.06")])


@pytest.mark.parametrize("what", ["missing", "empty", "a file"])
def test_a_folder_that_is_no_model_is_one_sentence(tales: Path, tmp_path: Path, what: str) -> None:
    folder = tmp_path / "none"
    if what == "empty":
        folder.mkdir()
    if what == "a file":
        folder.write_text("no folder")
    with pytest.raises(SettingsError) as error:
        load_recipe(tales, [from_folder(folder)])
    found = f"there is no model folder {folder}; `tutelage run` creates one for every stage"
    if what == "empty":
        found = f"{folder} has no config.json, so it is not a model; give the folder of a finished stage"
    assert str(error.value) == f"{tales}: stages.base.path: {found}"


def test_another_model_in_the_folder_makes_the_stage_run_again(tales: Path, base: Path, tmp_path: Path) -> None:
    def trained() -> bool:
        before = model.stat().st_mtime_ns if model.exists() else 0
        Run(load_recipe(tales, [*SHORT[1:], from_folder(base)]), tmp_path / "run").run()
        return model.stat().st_mtime_ns != before

    model = tmp_path / "run" / "chat" / "model.safetensors"
    assert trained()
    assert not trained()
    (base / "README.md").write_text("a note beside the model")
    base = base.rename(tmp_path / "moved")
    assert not trained()
    tensors = load_tensors(base / "model.safetensors")
    tensors["model.embed_tokens.weight"][0, 0] += 1
    save_tensors(base / "model.safetensors", tensors)
    assert trained()
    assert not trained()


def test_what_is_said_of_a_model_is_part_of_what_is_made_of_it(tales: Path, base: Path, tmp_path: Path) -> None:
    def mark(settings: str) -> str:
        return Run(load_recipe(tales, [from_folder(base, settings), more]), tmp_path).fingerprint("chat")

    more = f"data.more={{kind='text',path='{tales.with_name('tales.txt')}'}}"
    plain = mark("data={tales=1},lr=0.01")
    assert mark("data={tales=1},lr=0.01,batch_tokens=99") == plain  # how its loss is measured in pieces
    others = ["lr=0.02", "lr=0.01,held_out=0.3", "lr=0.01,context=32"]
    marks = [mark(f"data={{tales=1}},{settings}") for settings in others]
    marks += [mark(f"data={{tales={share},more=1}},lr=0.01") for share in (1, 2)]
    assert len({plain, *marks}) == 1 + len(marks)


def test_a_stage_on_a_folder_is_planned_as_it_then_runs(tales: Path, base: Path, tmp_path: Path) -> None:
    recipe = load_recipe(tales, [*SHORT[1:], from_folder(base), "stages.chat.steps=12"])
    run = Run(recipe, tmp_path / "run")
    before = plan(run)["stages"]
    assert list(before) == ["chat"]
    assert not run.folder.exists()
    run.run()
    after, info = plan(run)["stages"]["chat"], run.stage_done("chat")
    assert info is not None
    assert before["chat"]["parameters"] == after["parameters"] == info["parameters"]
    assert before["chat"]["tokens"] == pytest.approx(info["tokens"], rel=0.05)
    assert (before["chat"]["done"], after["done"]) == (False, True)
    assert (after["tokens"], after["steps"]) == (info["tokens"], 12)


def test_epochs_of_files_are_planned_without_what_they_hold_out(own: Path, tmp_path: Path) -> None:
    """The tail of a text, and a file of conversations kept from training, are no part of an epoch."""
    own.write_text(own.read_text().replace("steps = 30", "epochs = 2").replace("steps = 24", "epochs = 3"))
    overrides = ["evaluate={}", "data.tales.tail=0.4", "stages.chat.evaluate_every=0", "stages.base.held_out=0.5"]
    run = Run(load_recipe(own, overrides), tmp_path / "run")
    before = plan(run)["stages"]
    run.run()
    for name in ("base", "chat"):
        info = run.stage_done(name)
        assert info is not None
        assert before[name]["tokens"] == pytest.approx(info["tokens"], rel=0.04)
        assert before[name]["steps"] == pytest.approx(info["steps"], abs=1)


@pytest.mark.parametrize(
    ("kind", "planned", "run"),
    [
        ("char", "no text to train a character tokenizer on", "no text to train a character tokenizer on"),
        (
            "bpe",
            "data 'tales' holds nothing to train on",
            "stage base: nothing is left to train on in 'tales'; see its ledger",
        ),
    ],
)
def test_a_text_without_text_is_one_sentence(own: Path, tmp_path: Path, kind: str, planned: str, run: str) -> None:
    own.with_name("tales.txt").write_text("")
    made = Run(load_recipe(own, [f"tokenizer={{kind='{kind}',vocab=300}}"]), tmp_path / "run")
    for use, sentence in ((lambda: plan(made), planned), (made.run, run)):
        with pytest.raises(ValueError, match="no") as error:
            use()
        assert str(error.value) == sentence


def written(run: Path) -> dict[str, int]:
    """When each of a run's models, its tokenizer and its measurements were written."""
    names = {
        "tokenizer": "tokenizer/tokenizer.json",
        "base": "base/model.safetensors",
        "chat": "chat/model.safetensors",
        "forgetting": "chat/evaluate/forgetting.json",
    }
    return {name: (run / path).stat().st_mtime_ns for name, path in names.items() if (run / path).exists()}


def changed_byte(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) and len(old) == len(new)
    before = path.stat()
    path.write_text(text.replace(old, new, 1))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))


def test_where_a_file_lies_does_not_matter_and_every_byte_of_it_does(own: Path, tmp_path: Path) -> None:
    def ran(recipe: Path) -> set[str]:
        before = written(tmp_path / "run")
        Run(load_recipe(recipe, SHORT), tmp_path / "run").run()
        after = written(tmp_path / "run")
        return {name for name, when in after.items() if before.get(name) != when}

    everything = {"tokenizer", "base", "chat", "forgetting"}
    assert ran(own) == everything
    assert ran(own) == set()
    moved = own.parent.rename(tmp_path / "elsewhere") / own.name
    assert ran(moved) == set()
    changed_byte(moved.with_name("prompts.jsonl"), "fears", "hears")
    assert ran(moved) == {"forgetting"}  # measured again: which data a suite reads is not asked
    for name in ("chat.jsonl", "held_out.jsonl"):
        changed_byte(moved.with_name(name), "the cat", "the hen")
        assert ran(moved) == {"chat", "forgetting"}
    changed_byte(moved.with_name("tales.txt"), "fox", "dog")
    assert ran(moved) == everything


def test_a_file_of_which_a_share_is_held_out_is_another_under_another_name(own: Path, tmp_path: Path) -> None:
    """Which rows are held out hangs on their names, and those on the file's. Were it taken for the same data, rows that
    were trained on would be asked as unseen ones."""

    def mark(*overrides: str) -> str:
        return Run(load_recipe(own, overrides), tmp_path).fingerprint("chat")

    shutil.copy(own.with_name("chat.jsonl"), own.with_name("renamed.jsonl"))
    alone, renamed = (
        f"data.chat={{kind='chat',path='{own.with_name(name)}'}}" for name in ("chat.jsonl", "renamed.jsonl")
    )
    assert mark(alone) != mark(renamed)
    assert mark() == mark(f"data.chat.path='{own.with_name('renamed.jsonl')}'")  # here the files themselves say it


Place = Callable[[Path], str]


def test_paths_of_a_recipe_are_found_beside_it_and_those_of_the_command_line_from_here(
    own: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    (here / "texts").mkdir(parents=True)
    (here / "texts" / "tales.txt").write_text("another text")
    monkeypatch.chdir(here)
    own.write_text(own.read_text() + f"\n[stages.other]\nkind = 'model'\npath = '../{base.name}'\n")
    found = load_recipe(Path("../own/tales.toml"))
    data: dict[str, Any] = dict(found.data)
    assert data["tales"].path == str(own.with_name("tales.txt"))
    assert (data["chat"].path, data["chat"].held_out) == tuple(
        str(own.with_name(name)) for name in ("chat.jsonl", "held_out.jsonl")
    )
    assert data["unseen"].path == str(own.with_name("prompts.jsonl"))
    assert found.stages["other"].path == str(base)  # type: ignore[union-attr]
    assert found.stages["chat"].held_out == 0.02  # type: ignore[union-attr]

    overrides = ["data.tales.path=texts/tales.txt", "stages.other.path=../base", f"data.chat.path={base}/x.jsonl"]
    told = load_recipe(Path("../own/tales.toml"), overrides)
    data = dict(told.data)
    assert data["tales"].path == str(here / "texts" / "tales.txt")
    assert told.stages["other"].path == str(base)  # type: ignore[union-attr]
    assert data["chat"].path == str(base / "x.jsonl")
    assert data["chat"].held_out == str(own.with_name("held_out.jsonl"))


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("data.tales.path", "data.tales.path: there is no text file {path}; set data.tales.path=FILE"),
        ("data.chat.path", "cannot read {path}: no such file or directory; check the path"),
        ("data.chat.held_out", "cannot read {path}: no such file or directory; check the path"),
        ("data.unseen.path", "cannot read {path}: no such file or directory; check the path"),
    ],
)
def test_a_file_that_is_not_there_is_one_sentence_before_anything_runs(
    tales: Path, tmp_path: Path, setting: str, sentence: str
) -> None:
    path = tmp_path / "none.jsonl"
    run = Run(load_recipe(tales, [f"{setting}='{path}'"]), tmp_path / "run")
    with pytest.raises((ValueError, OSError)) as error:
        run.run()
    assert str(error.value) == sentence.format(path=path)
    assert not (tmp_path / "run" / "base").exists()


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (
            ["stages.mid={kind='pretrain',from='chat',data={tales=1},steps=1}", "evaluate.mid=['format']"],
            "evaluate.mid: 'format' needs a model that answers in turns; ask it of a stage of kind 'sft'",
        ),
        (
            ["stages.base={kind='model',path='BASE',lr=0.1}", "stages.chat.replay=0.0"],
            "evaluate.chat: 'forgetting' needs the text that the model was trained on; name it as the data of its "
            "stage",
        ),
        (
            ["evaluate.chat=['knowledge']"],
            "evaluate.chat: 'knowledge' needs the built-in world, but [data] has none of kind 'world'; leave it out",
        ),
        (
            [
                "stages.base={kind='model',path='BASE',lr=0.1}",
                "stages.chat.replay=0.0",
                "evaluate={base=['knowledge']}",
            ],
            "evaluate.base: 'base' is a pretrained model, and only stages that are trained here are evaluated",
        ),
    ],
)
def test_what_no_suite_can_measure_is_told_before_anything_is_trained(
    tales: Path, base: Path, overrides: list[str], sentence: str
) -> None:
    with pytest.raises(SettingsError) as error:
        load_recipe(tales, [override.replace("BASE", str(base)) for override in overrides])
    assert str(error.value) == f"{tales}: {sentence}"
