"""Prompts and rewards of a stage, and what its reward models have to do with its fingerprint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from tutelage.chat import make_renderer
from tutelage.config import SettingsError
from tutelage.ledger import Ledger
from tutelage.model.hub import Checkpoint, folder_fingerprint, holds_model
from tutelage.rl.prompts import PromptSet, prompt_set
from tutelage.rl.reward_settings import AnyReward, ModelReward, UtilityReward
from tutelage.rl.rewards import Rewards, Sources
from tutelage.stages.base import RecipeTables, Stage, StageContext
from tutelage.stages.data import tasks
from tutelage.stages.data_world import WorldPrompts, known_utility, world_questions
from tutelage.train.distributed import rank


def read_prompt_sets(
    stage: Stage, at: StageContext, checkpoint: Checkpoint, max_tokens: int, tools: tuple[str, ...] = ()
) -> dict[str, PromptSet]:
    """The prompts of each dataset of a stage as the model reads them, with room for answers of `max_tokens`. `tools`
    are offered with prompts that name none themselves."""
    renderer = make_renderer(checkpoint.tokenizer, checkpoint.chat_config)
    room = (stage.context or checkpoint.model.config.context) - max_tokens
    sets = {}
    for name in stage.data:
        files = Ledger(f"{name}: rows of the file")
        prompts = (replace(task, tools=task.tools or tools) for task in tasks(name, at.data, files))
        sets[name] = prompt_set(name, prompts, renderer, room, stage.held_out, files)
    return sets


def load_rewards(rewards: Mapping[str, AnyReward], at: StageContext, sets: Mapping[str, PromptSet]) -> Rewards:
    """The rewards, tried on the gold answers of all prompts."""
    golds = [prompt.task.gold for one in sets.values() for prompt in (*one.train, *one.held_out)]
    sources = Sources(golds, at.folders, responses=at.folder / f"responses.{rank()}.jsonl")
    if any(isinstance(part, UtilityReward) for part in rewards.values()):
        questions = {task.id: task for name in sets for task in world_questions(name, at.data)}
        sources = sources._replace(labeller=known_utility(sets, at.data), questions=questions)
    return Rewards(rewards, sources)


def reward_models(rewards: Mapping[str, AnyReward]) -> list[str]:
    """The reward models: stages of the recipe, or folders."""
    return [part.model for part in rewards.values() if isinstance(part, ModelReward)]


def model_fingerprints(rewards: Mapping[str, AnyReward]) -> list[str]:
    """The fingerprints of the weights of reward models that are folders; the runner adds those of stages."""
    return [folder_fingerprint(Path(name)) for name in reward_models(rewards) if holds_model(Path(name))]


def check_rewards(rewards: Mapping[str, AnyReward], name: str, recipe: RecipeTables, here: str) -> None:
    """SettingsError where no part has a weight, a reward model is neither a stage above nor a folder, or the utility of
    other prompts than those of the built-in world is asked for."""
    if not any(part.weight for part in rewards.values()):
        raise SettingsError(f"{here}.rewards needs at least one part with a weight other than 0")
    above = list(recipe.stages)[: list(recipe.stages).index(name)]
    for model in reward_models(rewards):
        if model not in above and not holds_model(Path(model)):
            raise SettingsError(
                f"{here}.rewards names the model '{model}', which is no stage above and no model folder"
            )
    if any(isinstance(part, UtilityReward) for part in rewards.values()):
        others = [data for data in recipe.stages[name].data if not isinstance(recipe.data.get(data), WorldPrompts)]
        if others or known_utility((), recipe.data) is None:
            raise SettingsError(
                f"{here}.rewards: a part of kind 'utility' needs prompts of kind 'world-prompts', and [data] of kind "
                "'world-preferences', whose labeller it asks"
            )
