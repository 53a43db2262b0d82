"""A stage's evaluations share what they read: each model is loaded once, and the data is read once."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_recipe import write_tiny_recipe

from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate import dev_eval, session
from tutelage.evaluate.suites import SUITES, format, knowledge
from tutelage.model.hub import Checkpoint, load_model
from tutelage.recipe import load_recipe
from tutelage.runner import Run
from tutelage.stages import prompts
from tutelage.stages.data import conversations

pytestmark = pytest.mark.usefixtures("quiet")

AGAIN = """
[stages.again]
kind = "sft"
from = "chat"
data = { chat = 1 }
steps = 2
batch_tokens = 1024
too_long = "drop"
evaluate_every = 1

[evaluate]
again = ["format", "knowledge", "forgetting", "before"]
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run whose stages but the last are finished, with short answers."""
    for module in (dev_eval, format, knowledge):
        monkeypatch.setattr(module, "ANSWER", SamplingSettings(max_tokens=2))
    steps = "steps = 2\nbatch_tokens = 1024"
    recipe = write_tiny_recipe(tmp_path, f"{steps}\nheld_out = 0.1", steps + AGAIN)
    made = Run(load_recipe(recipe), tmp_path / "run")
    for name in ("base", "chat"):
        made.run(only=name)
    return made


def test_four_suites_load_each_model_once_and_read_the_conversations_once(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the evaluations during training too; the models of seven loads are three."""
    loaded: Counter[str] = Counter()
    read: Counter[str] = Counter()

    def load(folder: Path) -> Checkpoint:
        loaded[folder.name] += 1
        return load_model(folder)

    monkeypatch.setattr(session, "load_model", load)
    monkeypatch.setattr(prompts, "conversations", lambda name, table: read.update([name]) or conversations(name, table))
    summary = run.run(only="again")
    # The stage has no preferences, questions, tasks or rows of its own.
    absent = {"preferences", "questions", "held_out_rows", "hacking", "best_of_n", "tasks", "utility"}
    absent |= {"knowing", "turns", "copying", "benchmarks", "classification", "tags", "spans"}
    assert set(run.recipe.evaluate["again"]) == set(SUITES) - absent
    for rate in ("format.compliant", "knowledge.held_out", "before.format.compliant", "before.knowledge.held_out"):
        assert summary[f"evaluate.again.{rate}.count"] > 0
    assert "evaluate.again.forgetting.increase" in summary
    assert loaded == {"again": 1, "chat": 1, "base": 1}
    assert read == {"chat": 1}
    run.evaluate("again")  # read from disk
    assert loaded.total() == 3


def test_models_are_let_go_of_after_the_evaluation(run: Run) -> None:
    run.run(only="again")
    assert run.session("again")._models == {}
    first = run.session("again").checkpoint("model")
    assert run.session("again").checkpoint("model") is first
    run.session("again").release()
    assert run.session("again").checkpoint("model") is not first


def test_roles_that_are_one_model_share_it(run: Run) -> None:
    found = run.session("chat")
    assert found.folders["parent"] == found.folders["base"] == run.folder / "base"
    assert found.checkpoint("parent") is found.checkpoint("base")
    assert found.checkpoint("model") is not found.checkpoint("base")


@pytest.mark.parametrize("force", [False, True])
def test_a_stage_is_evaluated_again_where_that_is_asked(run: Run, force: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    run.run(only="again")
    asked: list[str] = []
    for name, suite in SUITES.items():
        recorded = replace(suite, run=lambda session, suite=suite: asked.append(suite.name) or suite.run(session))
        monkeypatch.setitem(SUITES, name, recorded)  # type: ignore[arg-type]
    run.evaluate("again", again=force)
    assert asked == (list(run.recipe.evaluate["again"]) if force else [])
