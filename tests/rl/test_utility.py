"""Prompts of the built-in world, and the utility of answers to them as a reward."""

from __future__ import annotations

from pathlib import Path

import pytest

from tutelage.config import SettingsError, recipes_folder
from tutelage.recipe import load_recipe
from tutelage.records import message
from tutelage.rl.reward_settings import UtilityReward
from tutelage.rl.rewards import Rewards, Sample, Sources
from tutelage.stages.data import tasks
from tutelage.stages.data_world import WorldPreferences, WorldPrompts, WorldText, known_utility, world_questions
from tutelage.world.utility import proxy_utility, true_utility

TABLE = {
    "world": WorldText(people=20),
    "pairs": WorldPreferences(rows=20, flaw="politeness", strength=2.0),
    "prompts": WorldPrompts(rows=30),
}
POLITE = "Gladly. Of course. With pleasure. Have a good day."


def test_prompts_are_other_questions_than_those_of_the_preferences_with_their_values_as_gold() -> None:
    rows, questions = list(tasks("prompts", TABLE)), list(world_questions("prompts", TABLE))
    assert [row.id for row in rows] == [question.id for question in questions]
    assert len({row.id for row in rows}) == 30
    for row, question in zip(rows, questions, strict=True):
        assert row.gold == tuple(question.person.facts[attribute] for attribute in question.attributes)
        assert row.prompt[-1].text == question.prompt
    labelled = known_utility((), TABLE)
    assert labelled is not None
    assert not {row.id for row in rows} & {task.id for task in labelled.tasks("train", "standard", 30)}


def test_true_utility_and_proxy_are_parts_of_a_reward() -> None:
    questions = {question.id: question for question in world_questions("prompts", TABLE)}
    sources = Sources((), {}, known_utility((), TABLE), questions)
    made = Rewards({"seen": UtilityReward(proxy=True), "gold": UtilityReward(weight=0.0)}, sources)
    for question in list(questions.values())[:5]:
        for text in (POLITE, " ".join(question.person.facts[attribute] for attribute in question.attributes), ""):
            one = Sample((message("user", question.prompt),), None, text, text, 5, 10, "stop", question.id)
            (scored,) = made.score([one])
            assert scored.parts["gold"].value == true_utility(question, text)
            assert scored.total == scored.parts["seen"].value == proxy_utility(question, text, "politeness", 2.0)
    assert scored.total is not None
    with pytest.raises(SettingsError, match="reward 'gold': it needs"):
        Rewards({"gold": UtilityReward()}, Sources())


def test_the_utility_of_other_prompts_is_refused_at_load(tmp_path: Path) -> None:
    text = (recipes_folder() / "rlhf.toml").read_text()
    other = text.replace('{ kind = "world-prompts", rows = 2000 }', '{ kind = "sums-tasks" }')
    assert other != text
    (tmp_path / "other.toml").write_text(other)
    with pytest.raises(SettingsError, match=r"stages\.policy\.rewards: a part of kind 'utility' needs prompts of kind"):
        load_recipe(tmp_path / "other.toml")
