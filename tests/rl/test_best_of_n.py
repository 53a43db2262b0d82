from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_recipe import run_quietly

from tutelage.config import SettingsError
from tutelage.recipe import load_recipe
from tutelage.rl.best_of_n import best, kl_bound
from tutelage.rl.sampling import SampleRow
from tutelage.runner import Run

MakeRun = Callable[..., Run]
RECIPE = """
[data.questions]
kind = "prompts"
path = "questions.jsonl"

[data.chosen]
kind = "made"
stage = "best"

[stages.best]
kind = "best_of_n"
from = "chat"
data = {{ questions = 1 }}
held_out = 0.0
samples = 4
max_tokens = 30
rewards = {{ cat = {{ kind = "function", name = "tiny_rl:mentions_the_cat" }} }}
min_reward = 1.0

[stages.again]
kind = "sft"
from = "chat"
data = {{ chosen = 1 }}
held_out = 0.0
steps = 2
batch_tokens = 256
lr = 1e-3
optimizer = {{ kind = "adamw" }}
"""


def row(raw: str, total: float | None, finish_reason: str = "stop") -> SampleRow:
    return SampleRow("q", [1], [2], [3], [-1.0], finish_reason, raw, raw, total)  # type: ignore[arg-type]


def test_the_best_come_first_and_equal_answers_once() -> None:
    group = [row("a", 0.2), row("b", 0.9), row("b", 0.9), row("c", 0.5), row("d", 2.0, "length"), row("e", None)]
    assert [one.raw for one in best(group, 2, None)[0]] == ["b", "c"]
    assert [one.raw for one in best(group, 6, 0.4)[0]] == ["b", "c"]
    assert best(group, 2, 1.0) == ([], "below min_reward")
    assert best(group[4:], 1, None) == ([], "all samples cut off, or with a special token in them")
    assert best(group[:1], 2, None, frozenset({3}))[0] == []
    assert best(group[5:], 1, None) == ([], "no sample has a reward")


def test_published_divergences_of_best_of_n() -> None:
    """2210.10760: log n - (n - 1) / n for n = 2, 4, 16, 64, 256."""
    assert [kl_bound(n) for n in (2, 4, 16, 64, 256)] == pytest.approx([0.193, 0.636, 1.835, 3.175, 4.549], abs=5e-4)


def test_a_recipe_samples_keeps_the_best_and_trains_on_them(asked: Path, tales_run: Run, tmp_path: Path) -> None:
    path = asked.with_name("best.toml")
    path.write_text(asked.read_text() + RECIPE.replace("{{", "{").replace("}}", "}"))
    run = run_quietly(Run(load_recipe(path), tmp_path / "run"))
    rows = [json.loads(line) for line in (run.folder / "best" / "data.jsonl").read_text().splitlines()]
    assert rows
    assert all("cat" in made["messages"][-1]["content"] for made in rows)
    assert all(made["reward"] == 1 for made in rows)
    made = json.loads((run.folder / "best" / "stage.json").read_text())
    ledger = made["ledgers"]["rows"]
    assert ledger["rows_read"] == 12
    assert ledger["rows_out"] == len(rows) == made["rows"]
    assert made["reward_kept"] == 1 > made["reward_sampled"]
    assert run.stage_done("again")
    summary = run.summary()
    assert summary["stages.best.reward_kept"] == 1
    before = run.fingerprint("again")
    other = Run(load_recipe(path, ["stages.best.seed=1"]), run.folder)
    assert other.fingerprint("again") != before
    again = run_quietly(run)
    assert (again.folder / "best" / "data.jsonl").exists()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data.chosen.stage=chat", "no stage of that name makes data"),
        ("data.chosen.stage=nothing", "no stage of that name makes data"),
        ("stages.best.keep=9", "keep is 9; it must be at least 1 and at most samples = 4"),
        ("stages.again.from=best", "'best' makes data and no model"),
        ("stages.best.lr=1", "nothing is trained"),
        ("stages.best.rewards.cat.weight=0", "at least one part with a weight other than 0"),
        ("stages.best.rewards={ m = { kind = 'model', model = 'nowhere' } }", "no stage above and no model folder"),
    ],
)
def test_a_mistake_in_the_recipe_is_named(asked: Path, override: str, said: str) -> None:
    path = asked.with_name("wrong.toml")
    path.write_text(asked.read_text() + RECIPE.replace("{{", "{").replace("}}", "}"))
    with pytest.raises(SettingsError, match=said):
        load_recipe(path, [override])
