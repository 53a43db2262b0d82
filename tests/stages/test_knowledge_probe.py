"""A recipe that probes its own chat model, and fine-tunes on the rows and on conversations with tools."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_recipe import run_quietly, write_tiny_recipe

from tutelage.config import SettingsError
from tutelage.recipe import load_recipe
from tutelage.runner import Run
from tutelage.stages.data import conversations, documents, holds, plain_texts, tasks

MORE = """
evaluate_every = 0

[stages.probe]
kind = "knowledge_probe"
from = "chat"
data = { asked = 1 }
samples = 2
impossible = 12
max_tokens = 4
offer_tools = true
held_out = 0.0

[stages.refuse]
kind = "sft"
from = "chat"
data = { probed = 0.5, tools = 0.5 }
steps = 2
too_long = "drop"
held_out = 0.0

[evaluate]
refuse = []
"""
DATA = """
sheets = { kind = "world-reading", documents = 5 }
tools = { kind = "world-tools", rows = 40, indexed = 5 }
asked = { kind = "world-probe", facts = 1, unknown = 6 }
probed = { kind = "made", stage = "probe" }

[stages.base]"""


def recipe(folder: Path) -> Path:
    """In a context that holds conversations with tools."""
    path = write_tiny_recipe(folder, "steps = 2", f"steps = 2\n{MORE}")
    text = path.read_text().replace("\n[stages.base]", DATA, 1).replace("context = 128", "context = 2048")
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("probe")
    return run_quietly(Run(load_recipe(recipe(folder)), folder / "run"))


def test_a_probe_makes_rows_for_the_stage_below(run: Run) -> None:
    rows = [json.loads(line) for line in (run.folder / "probe" / "data.jsonl").read_text().splitlines()]
    info = json.loads((run.folder / "probe" / "stage.json").read_text())
    asked = info["ledgers"]["rows"]["rows_read"]
    assert asked == 12 + len(list(tasks("asked", run.recipe.data)))
    assert info["rows"] == len(rows) == info["refused"], "the model knows nothing"
    assert sum(info["unanswerable"]["classes"].values()) == 12 + 6
    assert all(row["messages"][-1]["role"] == "assistant" for row in rows)
    trained = json.loads((run.folder / "refuse" / "stage.json").read_text())["trained_by_dataset"]
    assert set(trained) == {"probed", "tools"}


def test_the_session_knows_how_many_people_only_the_search_knows(run: Run) -> None:
    assert run.session("refuse").indexed_people == 5
    assert run.session("chat").indexed_people == 0


def test_data_for_tools_is_read_by_its_kind(run: Run) -> None:
    table = run.recipe.data
    assert [holds(table[name]) for name in ("sheets", "tools", "asked")] == ["documents", "conversations", "prompts"]
    assert len(list(documents("sheets", table))) == 5
    rows = list(conversations("tools", table))
    assert len(rows) == 40
    assert any('"search"' in text for text in plain_texts("tools", table)), "the tokenizer learns from the schemas"


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("stages.probe.samples=0", "samples, answers and max_tokens must be at least 1"),
        ("stages.probe.temperature=0", "sampled answers need one above 0"),
        ("stages.probe.max_refused=2", "it is a share of the rows, from 0 to 1"),
        ("data.tools.rows=0", "rows is 0; it must be at least 1"),
        ("data.chat.joined=2", "joined is 2"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tmp_path: Path, override: str, problem: str) -> None:
    with pytest.raises(SettingsError, match=problem):
        load_recipe(recipe(tmp_path), [override])
