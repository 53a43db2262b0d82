"""The `run` command: trains and evaluates the stages of a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tutelage.cli.command import command
from tutelage.cli.finish import exit_if_forgetting, finish
from tutelage.cli.open_run import open_run
from tutelage.cli.options import RECIPE, SETTINGS, TRACK
from tutelage.tracking import TrackerName


@click.command(short_help="Train and evaluate the stages of a recipe.")
@RECIPE
@SETTINGS
@click.option("--only", metavar="STAGE", help="Run this stage only; its parent stage must be finished.")
@TRACK
@command
def run(recipe: Path, settings: tuple[str, ...], only: str | None, track: TrackerName | None, as_json: bool) -> Any:
    """Train every unfinished stage of a recipe, evaluate, and write DIR/summary.json and DIR/report.html.

    DIR defaults to runs/NAME, by the name of the recipe. Any other setting of the recipe can be overridden by its
    dotted name, such as stages.chat.epochs=2.
    """
    opened = open_run(recipe, settings, track)
    summary = finish(opened, only, as_json)
    exit_if_forgetting(opened, summary, as_json)
    return summary
