"""The `grpo` command: trains a model on rewards of sampled answers without a recipe file."""

from __future__ import annotations

from typing import Any

import click

from tutelage.cli.command import command
from tutelage.cli.fine_tune import FIRST, TRAINING, fine_tune, with_options
from tutelage.cli.rollout_options import DATA, GROUP_SIZE, REWARDS, ROLLOUT_OPTIONS, ROLLOUTS, reward_settings

# What its own options set of the stage.
OPTIONS = {**ROLLOUT_OPTIONS, "estimator": "estimator"}
ESTIMATORS = ("grpo", "dr_grpo", "rloo", "maxrl", "reinforce", "reinforce_pp", "reinforce_pp_baseline")
OWN = (
    GROUP_SIZE,
    click.option(
        "--estimator",
        type=click.Choice(ESTIMATORS),
        metavar="NAME",
        help=f"Rewards to advantages: {', '.join(ESTIMATORS[:-1])} or {ESTIMATORS[-1]} (default grpo).",
    ),
)


@click.command(short_help="Train a model on rewards of sampled answers (GRPO).")
@with_options(FIRST, DATA, REWARDS, ROLLOUTS, OWN, TRAINING)
@command
def grpo(as_json: bool, **given: Any) -> Any:
    """Sample groups of answers to each prompt, and make those likelier that have a higher reward than their group. A
    verifier is tried on the gold answers before training. Any other setting of the recipe can be set by its dotted
    name, such as stages.grpo.clip_high=0.28.

    tutelage grpo --model tuned --data gsm8k.jsonl --reward numeric --gold-after "####" --out reasoner
    """
    return fine_tune("grpo", OPTIONS, given, as_json, reward_settings("grpo", given))
