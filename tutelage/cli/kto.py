"""The `kto` command: trains a model on labelled answers without a recipe file."""

from __future__ import annotations

from typing import Any

import click

from tutelage.cli.command import command
from tutelage.cli.fine_tune import FIRST, PREFERENCES, SHARED, fine_tune, with_options

# What its own options set of the stage.
OPTIONS = {"beta": "beta"}
OWN = (
    click.option(
        "--beta",
        type=click.FloatRange(0, min_open=True),
        metavar="BETA",
        help="How strongly log-ratios count (default 0.1).",
    ),
)


@click.command(short_help="Train a model on answers labelled good or bad (KTO).")
@with_options(FIRST, PREFERENCES, OWN, SHARED)
@command
def kto(as_json: bool, **given: Any) -> Any:
    """Train a model on answers that are labelled desirable or not; pairs count as one of each. Any other setting of the
    recipe can be set by its dotted name, such as stages.kto.undesirable_weight=1.5.

    tutelage kto --model tuned --data labelled.jsonl --out better
    """
    return fine_tune("kto", OPTIONS, given, as_json)
