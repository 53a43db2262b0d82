"""The `dpo` command: trains a model on preference pairs without a recipe file."""

from __future__ import annotations

from typing import Any

import click

from tutelage.cli.command import command
from tutelage.cli.fine_tune import FIRST, PREFERENCES, SHARED, fine_tune, with_options

# What its own options set of the stage.
OPTIONS = {"beta": "beta", "loss": "loss_type", "nll": "nll"}
OWN = (
    click.option(
        "--beta",
        type=click.FloatRange(0, min_open=True),
        metavar="BETA",
        help="How strongly margins count; tau of IPO, lambda of ORPO (default 0.1; SimPO 2, DPO per token 5).",
    ),
    click.option(
        "--loss",
        type=click.Choice(("sigmoid", "sigmoid_norm", "robust", "ipo", "ipo_mean", "simpo", "orpo")),
        help="The loss: DPO (sigmoid, default), DPO per token, DPO for wrong labels, IPO (sum or mean), SimPO, ORPO.",
    ),
    click.option(
        "--nll",
        type=click.FloatRange(0),
        metavar="FACTOR",
        help="Factor of the negative log-probability of chosen answers, which keeps them likely (default 0; ORPO 1).",
    ),
)


@click.command(short_help="Train a model on preference pairs (DPO).")
@with_options(FIRST, PREFERENCES, OWN, SHARED)
@command
def dpo(as_json: bool, **given: Any) -> Any:
    """Train a model to prefer the chosen answer of each pair. The reference is the model that it starts from. Pairs
    whose answers do not share the tokens of their prompt are refused. Any other setting of the recipe can be set by its
    dotted name, such as stages.dpo.label_smoothing=0.1.

    tutelage dpo --model tuned --data pairs.jsonl --out better
    """
    return fine_tune("dpo", OPTIONS, given, as_json)
