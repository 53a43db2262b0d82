from __future__ import annotations

import re
from pathlib import Path

import msgspec

from tutelage.config import recipes_folder
from tutelage.model.lora import LoraSettings
from tutelage.recipe import load_recipe
from tutelage.runner import Run
from tutelage.settings_page import OTHER_NAMES, SECTIONS, setting_rows, settings_page
from tutelage.stages.data_files import ChatData
from tutelage.stages.sft import Sft
from tutelage.stages.train_stage import TrainStage
from tutelage.train.optimizers import OptimizerSettings
from tutelage.train.schedule import ScheduleSettings

PAGE = Path(__file__).parents[1] / "docs" / "settings.md"


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == settings_page(), "run: tutelage settings > docs/settings.md"


def test_every_setting_has_a_meaning() -> None:
    rows = [row for _, kind, shown in SECTIONS for row in setting_rows(kind, shown)]
    assert len(rows) > 100
    assert [name for name, _, _, meaning in rows if not meaning.strip()] == []


def test_a_setting_has_its_default_and_its_name_in_trl() -> None:
    rows = {name: row for _, kind, shown in SECTIONS for name, *row in setting_rows(kind, shown)}
    assert rows["`rank`"][:2] == ["`16`", "r"]
    assert rows["`from`"][2].startswith("the stage whose model this one starts from")
    assert rows["`too_long`"][2].endswith("One of `error`, `drop`, `split`.")


def test_every_name_of_another_library_is_of_a_setting_that_exists() -> None:
    known = {kind.__name__: kind for _, kind, _ in SECTIONS}
    for name in OTHER_NAMES:
        kind, _, field = name.partition(".")
        assert field in known[kind].__struct_fields__, name


def test_the_recipe_for_checkpoints_names_every_setting_of_its_stage() -> None:
    text = (recipes_folder() / "finetune.toml").read_text(encoding="utf-8")
    for kind in (Sft, LoraSettings, OptimizerSettings, ScheduleSettings, ChatData):
        for field in msgspec.structs.fields(kind):
            assert re.search(rf"^((# )?{field.encode_name} = |\[.*\b{field.encode_name}\])", text, re.MULTILINE), (
                field.name
            )


def test_what_the_recipe_shows_in_comments_can_be_set(tales_run: Run, tmp_path: Path) -> None:
    """Each line in turn, in place of what it excludes."""
    lines = (recipes_folder() / "finetune.toml").read_text(encoding="utf-8").splitlines()
    (tmp_path / "test.jsonl").write_text("")
    table = ""
    for number, line in enumerate(lines):
        table = line if line.startswith("[") else table
        if not re.match(r"# \w+ = ", line) or "questions" in line:
            continue
        skipped = ["lr ="] if "find_lr" in line else []
        shown = [
            *lines[:number],
            line[2:].replace("= false", "= true") if "find_lr" in line else line[2:],
            *lines[number + 1 :],
        ]
        shown = [text for text in shown if not any(text.startswith(name) for name in skipped)]
        text = "\n".join(shown).replace("HuggingFaceTB/SmolLM2-135M-Instruct", str(tales_run.folder / "base"))
        if line.startswith(("# replay", "# max_forgetting", "# data")):
            continue  # they need text of the base model, which this one's recipe lacks
        (tmp_path / "finetune.toml").write_text(text)
        load_recipe(tmp_path / "finetune.toml")


def test_a_kind_shows_only_what_it_adds() -> None:
    names = {name for name, *_ in setting_rows(Sft, TrainStage)}
    assert "`train_on`" in names
    assert "`epochs`" not in names
