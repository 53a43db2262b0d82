from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tiny_recipe import run_quietly

from tutelage.config import SettingsError
from tutelage.recipe import load_recipe
from tutelage.runner import Run

NOUNS = ("cat", "dog", "fox", "hen", "owl")
MORE = """
[data.pages]
kind = "documents"
path = "pages.jsonl"

[data.asked]
kind = "sums-tasks"

[data.answered]
kind = "made"
stage = "answers"

[stages.answers]
kind = "synth"
from = "chat"
data = { pages = 1 }
make = { kind = "continuation", original = true, min_words = 8 }
teacher = { kind = "world", faults = { failed = 0.2 } }

[stages.again]
kind = "sft"
from = "chat"
data = { answered = 1 }
held_out = 0.0
steps = 2
batch_tokens = 256
lr = 1e-3
"""


@pytest.fixture
def recipe_file(tales: Path, tales_run: Run, tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(tales.parent, tmp_path / "tales"))
    path = folder / "synth.toml"
    path.write_text((folder / "tales.toml").read_text() + MORE)
    pages = [f"the {a} sees the {b}. the {b} likes the {a}." for a in NOUNS for b in NOUNS if a != b]
    (folder / "pages.jsonl").write_text("".join(json.dumps({"text": page}) + "\n" for page in pages))
    shutil.copytree(tales_run.folder, tmp_path / "run")
    return path


def test_a_stage_makes_rows_and_the_next_one_trains_on_them(recipe_file: Path, tmp_path: Path) -> None:
    run = run_quietly(Run(load_recipe(recipe_file), tmp_path / "run"))
    made = [json.loads(line) for line in (run.folder / "answers" / "data.jsonl").read_text().splitlines()]
    assert all(" likes " in row["messages"][1]["content"] for row in made)
    ledger = json.loads((run.folder / "answers" / "stage.json").read_text())["ledgers"]["rows"]
    assert ledger["rows_kept"] == len(made) >= 10
    dropped = (run.folder / "answers" / "synth" / "dropped.jsonl").read_text().splitlines()
    assert {json.loads(row)["reason"] for row in dropped} == {"no answer: timeout"}
    assert len(made) + len(dropped) == 18  # a tenth is held out
    assert run.stage_done("again")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("stages.answers.make={ kind = 'wrap' }", "the last method makes documents"),
        ("stages.answers.data={ asked = 1 }", "'asked' holds prompts, but a synthesis stage works on documents"),
        ("stages.answers.make={ kind = 'alpaca' }", "makes rows without end; set count"),
        ("stages.answers.make={ kind = 'alpacca' }", "did you mean 'alpaca'"),
        ("stages.answers.gate.skip=['refusals']", "did you mean 'refusal'"),
    ],
)
def test_a_mistake_in_the_recipe_is_named(recipe_file: Path, override: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        load_recipe(recipe_file, [override])
