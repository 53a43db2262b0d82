"""Stages that sample with tools, and with the agents of the built-in world: a tiny model that hardly ever calls."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_recipe import run_quietly, write_tiny_recipe

from tutelage.chat.audit.fix import openai_row
from tutelage.config import SettingsError
from tutelage.model.hub import load_model
from tutelage.recipe import load_recipe
from tutelage.records import Conversation, Task
from tutelage.rl.best_of_n import as_row
from tutelage.rl.prompts import DrawnPrompt, Prompt
from tutelage.rl.sampling import SampleRow
from tutelage.runner import Run
from tutelage.stages.data import conversations, holds, tasks
from tutelage.stages.train_stage import set_up
from tutelage.tools.agents import agent_conversations
from tutelage.tools.world_pages import world_index
from tutelage.world.society import World, WorldSettings

RUBRIC = '{ kind = "function", name = "tutelage.tools.agents:rubric_reward" }'
MORE = f"""
evaluate_every = 0

[stages.again]
kind = "sft"
from = "chat"
data = {{ agents = 1 }}
steps = 1
too_long = "drop"
held_out = 0.0

[stages.learn]
kind = "grpo"
from = "chat"
data = {{ jobs = 1 }}
environment = "world-agents"
rewards = {{ rubric = {RUBRIC}, short = {{ kind = "length", weight = 0.1 }} }}
steps = 1
prompts = 2
group_size = 2
max_tokens = 40

[stages.search]
kind = "grpo"
from = "chat"
data = {{ asked = 1 }}
tools = "search,calculator"
tool_limits = {{ calls = 2, result_tokens = 100 }}
rewards = {{ short = {{ kind = "length" }} }}
steps = 1
prompts = 2
group_size = 2
max_tokens = 20

[evaluate]
again = []
learn = ["tasks"]
search = []
"""
DATA = """
agents = { kind = "world-agents", rows = 6, indexed = 10 }
jobs = { kind = "world-agent-tasks", rows = 6, start = 6, held_out = 3, indexed = 10 }
asked = { kind = "world-tasks", facts = 1 }

[stages.base]"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("agents")
    path = write_tiny_recipe(folder, "steps = 2", f"steps = 2\n{MORE}")
    text = path.read_text().replace("\n[stages.base]", DATA, 1).replace("context = 128", "context = 4096")
    path.write_text(text)
    return run_quietly(Run(load_recipe(path), folder / "run"))


def test_data_of_agents_is_read_by_its_kind(run: Run) -> None:
    table = run.recipe.data
    assert [holds(table[name]) for name in ("agents", "jobs")] == ["conversations", "prompts"]
    rows, prompts = list(conversations("agents", table)), list(tasks("jobs", table))
    assert len(rows) == 6
    assert [task.split for task in prompts] == ["train"] * 6 + ["held_out"] * 3
    assert not {row.id for row in rows} & {task.id for task in prompts}
    assert run.session("again").indexed_people == 10


def test_the_rubric_rewards_samples_of_several_turns(run: Run) -> None:
    """The untrained model ends no turn, or calls nothing: it passes the checks that forbid something, or none."""
    summary = json.loads((run.folder / "summary.json").read_text())
    figures = {
        name: summary[f"evaluate.learn.tasks.{name}.mean"] for name in ("reward", "reward_before", "reward_gain")
    }
    assert figures["reward_gain"] == pytest.approx(figures["reward"] - figures["reward_before"])
    (line, *_) = (run.folder / "learn" / "train.jsonl").read_text().splitlines()
    assert 0 <= json.loads(line)["reward.rubric"] <= 1


def test_kept_samples_are_rows_with_all_turns_and_their_tools() -> None:
    world = World(WorldSettings(people=20, versions=1))
    (row,) = agent_conversations(world, world_index(world, 10), 1, 10, "train")
    task = Task(row.messages[:1], id=row.id, tools=row.tools)
    turns = openai_row(Conversation(row.messages[1:]))["messages"]
    drawn = DrawnPrompt("jobs", Prompt(task, np.zeros(1), np.zeros(1), 0), 0)
    made = as_row(drawn, SampleRow("jobs", [], [], [], [], "stop", "", "", 1.0, messages=turns))
    assert made == {"id": row.id, **openai_row(replace(row, meta={})), "reward": 1.0}


def test_tools_of_a_stage_are_offered_with_every_prompt(run: Run) -> None:
    setup = set_up(run.trained_stage("search"), run.context("search"))
    step, _ = next(setup.stream.batches(None, False))
    tokenizer = load_model(run.folder / "chat").tokenizer
    text = tokenizer.decode(step[0].tokens_N.numpy())
    assert '"search"' in text
    assert '"calculator"' in text


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("stages.search.tools='fly'", "there is no tool 'fly'"),
        ("stages.learn.tools='calculator'", "tools is .*; environment answers the assistant"),
        ("stages.learn.data={ asked = 1 }", 'needs one dataset, of kind "world-agent-tasks"'),
        ("stages.learn.environment_seconds=0", "environment_seconds is 0.0; it must be above 0"),
        ("data.jobs.start=-1", "start and held_out are numbers of tasks"),
    ],
)
def test_what_cannot_answer_is_refused(run: Run, tmp_path: Path, override: str, problem: str) -> None:
    path = run.folder.parent / "tiny.toml"
    with pytest.raises(SettingsError, match=problem):
        run_quietly(Run(load_recipe(path, [override]), tmp_path / "run"))
