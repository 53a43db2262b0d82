"""The `ppo` command: trains a model on rewards of sampled answers, with a value head, without a recipe file."""

from __future__ import annotations

from typing import Any

import click

from tutelage.cli.command import command
from tutelage.cli.fine_tune import FIRST, TRAINING, fine_tune, with_options
from tutelage.cli.rollout_options import DATA, REWARDS, ROLLOUT_OPTIONS, ROLLOUTS, reward_settings

# What its own options set of the stage.
OPTIONS = {name: setting for name, setting in ROLLOUT_OPTIONS.items() if name != "group_size"}
OPTIONS |= {"kl_target": "kl_target"}
OWN = (
    click.option(
        "--kl-target",
        type=click.FloatRange(0, min_open=True),
        metavar="NATS",
        help="Adapt the factor of the divergence so that a sample has this much (default: the factor stays).",
    ),
)


@click.command(short_help="Train a model on rewards of sampled answers (PPO).")
@with_options(FIRST, DATA, REWARDS, ROLLOUTS, OWN, TRAINING)
@command
def ppo(as_json: bool, **given: Any) -> Any:
    """Sample answers, estimate with a value head what was to be expected of each token, and move by clipped ratios. The
    divergence from the model that training starts from is taken from the reward (--kl, default 0.05). Any other setting
    of the recipe can be set by its dotted name, such as stages.ppo.lam=0.9.

    tutelage ppo --model tuned --data prompts.jsonl --reward-model scorer --out better
    """
    return fine_tune("ppo", OPTIONS, given, as_json, reward_settings("ppo", given))
