"""The `plan` command: what a recipe costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tutelage.cli.command import command, new_console
from tutelage.cli.open_run import open_run
from tutelage.cli.options import RECIPE, SETTINGS


@click.command(short_help="Estimate tokens, time and memory of a recipe.")
@RECIPE
@SETTINGS
@command
def plan(recipe: Path, settings: tuple[str, ...], as_json: bool) -> Any:
    """Estimate the cost of a recipe: parameters, tokens, FLOPs, time and memory, and how much of it is done. Trains
    nothing."""
    from tutelage.plan import plan as make_plan
    from tutelage.report.terminal import print_plan

    result = make_plan(open_run(recipe, settings))
    if not as_json:
        print_plan(result, new_console())
    return result
