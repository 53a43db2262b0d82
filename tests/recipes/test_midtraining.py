"""The recipes of mid-training and of sources: their arms differ in what they say and in nothing else, and they run."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tutelage.config import recipes_folder, to_plain
from tutelage.recipe import load_recipe
from tutelage.report.page import write_report
from tutelage.runner import Run
from tutelage.world import sums

TINY = ["model.depth=1", "model.width=32"]
WORLD = ["tokenizer.vocab=400", "data.world.people=20", "data.world.versions=2"]
RECIPES = {
    "midtraining": [*TINY, *WORLD],
    "early_reasoning": [
        *TINY,
        "data.prose.people=20",
        "data.prose.versions=2",
        "data.worked.share=0.05",
        "data.rows.share=0.02",
    ],
    "sources": [*TINY, *WORLD, "data.sums.share=0.02"],
}

pytestmark = pytest.mark.usefixtures("quiet")


def stages(name: str) -> dict[str, Any]:
    loaded = load_recipe(recipes_folder() / f"{name}.toml", [])
    return {stage: to_plain(settings) for stage, settings in loaded.stages.items()}


def test_sft_rows_in_the_decay_and_after_it_are_as_many_tokens() -> None:
    mixed, decay, chat = (stages("midtraining")[name] for name in ("decay_mixed", "decay", "chat"))
    assert mixed["steps"] == decay["steps"] + chat["steps"]
    assert (1 - mixed["replay"]) * mixed["steps"] == pytest.approx(chat["steps"])
    for setting in ("from", "schedule", "lr", "batch_tokens", "optimizer"):
        assert mixed[setting] == decay[setting], setting
    assert chat["batch_tokens"] == mixed["batch_tokens"]


def test_early_and_late_read_as_many_worked_tokens_and_are_fine_tuned_alike() -> None:
    arms = stages("early_reasoning")
    early, late = arms["stable_early"], arms["decay_late"]
    assert early["data"]["worked"] * early["steps"] == pytest.approx(late["data"]["worked"] * late["steps"])
    for group in (("stable", "stable_early"), ("decay_early", "decay_late", "decay_never"), ("early", "late", "never")):
        without = [{k: v for k, v in arms[name].items() if k not in ("from", "data")} for name in group]
        assert all(other == without[0] for other in without), group
    assert {arms[name]["from"] for name in ("early", "late", "never")} == {"decay_early", "decay_late", "decay_never"}


def test_the_sums_that_are_asked_are_shown_in_no_arm() -> None:
    data = to_plain(load_recipe(recipes_folder() / "early_reasoning.toml", []))["data"]
    shown = set(sums.sums(0.0, max(data["worked"]["share"], data["rows"]["share"])))
    lines = (recipes_folder() / "sums_questions.jsonl").read_text().splitlines()
    asked = [tuple(map(int, re.findall(r"\d+", json.loads(line)["question"]))) for line in lines]
    assert len(set(asked)) == 200 and shown.isdisjoint(asked)
    assert all(sum(pair) == json.loads(line)["answer"] for pair, line in zip(asked, lines, strict=True))


def test_every_source_is_trained_for_the_same_tokens() -> None:
    arms = {name: stage for name, stage in stages("sources").items() if name.startswith("from_")}
    assert len({(arm["steps"], arm["batch_tokens"], arm["from"], str(arm["optimizer"])) for arm in arms.values()}) == 1
    alone = {name for arm in arms.values() if len(arm["data"]) == 1 for name in arm["data"]}
    assert alone == set(arms["from_all"]["data"])


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_the_recipe_runs_to_its_report(name: str, tmp_path: Path) -> None:
    short = {stage: "steps=2" if settings["steps"] else "epochs=1" for stage, settings in stages(name).items()}
    lengths = [f"stages.{stage}.{length}" for stage, length in short.items()]
    run = Run(load_recipe(recipes_folder() / f"{name}.toml", [*RECIPES[name], *lengths]), tmp_path)
    summary = run.run()
    report = write_report(run).read_text()
    for stage in run.recipe.stages:
        assert f'class="stage-name">{stage}<' in report and summary[f"stages.{stage}.loss"] > 0, stage
    for stage, suites in run.recipe.evaluate.items():
        for suite in suites:
            assert any(key.startswith(f"evaluate.{stage}.{suite}.") for key in summary), (stage, suite)
