"""What the commands that sample answers share: options, and rewards from them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

from tutelage.cli.options import MODEL, OUT, data_option, held_out_option, replay_option

# What they set; a dotted name is of the recipe.
ROLLOUT_OPTIONS = {
    "gold_after": "data.prompts.gold_after",
    "steps": "steps",
    "prompts": "prompts",
    "group_size": "group_size",
    "max_tokens": "max_tokens",
    "temperature": "temperature",
    "kl": "kl",
}
DATA = (data_option("prompts with answers"), OUT, held_out_option("prompts"))
REWARDS = (
    click.option(
        "--reward",
        multiple=True,
        metavar="VERIFIER",
        help="1 for a right answer, by a verifier: exact, contains, numeric, choice, expression, constraints, "
        "unit_tests, or package.module:function; repeatable, they are added up.",
    ),
    click.option(
        "--reward-model", metavar=MODEL, help="The score of a reward model (`tutelage reward`) is added to the reward."
    ),
    click.option(
        "--gold-after",
        metavar="TEXT",
        help='The gold answer is what follows the last TEXT of the answer, such as "####".',
    ),
)
SAMPLING = (
    click.option(
        "--max-tokens",
        type=click.IntRange(min=1),
        metavar="TOKENS",
        help="Maximum tokens of an answer (default 256, at most half of the context).",
    ),
    click.option(
        "--temperature",
        type=click.FloatRange(0, min_open=True),
        metavar="T",
        help="Temperature of sampling (default 1).",
    ),
)
ROLLOUTS = (
    replay_option(),
    click.option(
        "--epochs", type=click.IntRange(min=1), metavar="EPOCHS", help="Epochs over the prompts, in place of --steps."
    ),
    click.option(
        "--steps",
        type=click.IntRange(min=1),
        metavar="STEPS",
        help="Optimizer steps; default: an epoch, 100 steps for few prompts.",
    ),
    click.option(
        "--prompts", type=click.IntRange(min=1), metavar="PROMPTS", help="Prompts of a rollout (default 16; PPO 64)."
    ),
    *SAMPLING,
    click.option(
        "--kl",
        type=click.FloatRange(0),
        metavar="FACTOR",
        help="Factor of the divergence from the model that training starts from.",
    ),
)
GROUP_SIZE = click.option(
    "--group-size", type=click.IntRange(min=1), metavar="SAMPLES", help="Samples of each prompt (default 8)."
)


def reward_settings(kind: str, given: Mapping[str, Any]) -> list[str]:
    """The rewards that the options name, as settings of the recipe."""
    parts: dict[str, dict[str, Any]] = {}
    for verifier in given["reward"]:
        parts[verifier.rpartition(":")[2]] = {"kind": "verifier", "verifier": verifier}
    if given["reward_model"] is not None:
        parts["model"] = {"kind": "model", "model": given["reward_model"]}
    return [f"stages.{kind}.rewards.{name}.{key}={json.dumps(value)}" for name, part in parts.items()
            for key, value in part.items()]  # fmt: skip
