"""The `reward` command: trains a reward model on preference pairs without a recipe file."""

from __future__ import annotations

from typing import Any

import click

from tutelage.cli.command import command
from tutelage.cli.fine_tune import FIRST, PREFERENCES, SHARED, fine_tune, with_options

# What its own options set of the stage.
OPTIONS = {"margin": "margin", "centring": "centring"}
OWN = (
    click.option(
        "--margin",
        type=click.FloatRange(0),
        metavar="MARGIN",
        help="By how much the score of the chosen answer must lead (default 0).",
    ),
    click.option(
        "--centring",
        type=click.FloatRange(0),
        metavar="FACTOR",
        help="Factor of the squared sum of both scores, which keeps them around 0, such as 0.01 (default 0).",
    ),
)


@click.command(short_help="Train a reward model on preference pairs.")
@with_options(FIRST, PREFERENCES, OWN, SHARED)
@command
def reward(as_json: bool, **given: Any) -> Any:
    """Train a reward model: a head that scores answers, chosen above rejected (Bradley-Terry). Any other setting of the
    recipe can be set by its dotted name, such as stages.reward.held_out=0.2.

    tutelage reward --model tuned --data pairs.jsonl --out scorer
    """
    return fine_tune("reward", OPTIONS, given, as_json)
