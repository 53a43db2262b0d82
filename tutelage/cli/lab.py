"""The `lab` command: replications of published findings on fine-tuning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tutelage.cli.command import command, new_console
from tutelage.cli.options import FOLDER


@click.command(short_help="Replicate published findings on fine-tuning.")
@click.argument("number", type=int, required=False)
@click.option("--quick", is_flag=True, help="A tiny model that learns nothing, to test that it runs.")
@click.option("--cache", type=FOLDER, metavar="DIR", help="Folder of finished stages (default runs/lab).")
@click.option(
    "--results",
    type=FOLDER,
    metavar="DIR",
    help="Folder of results; their page is DIR.md (default docs/lab, with --quick a folder in --cache).",
)
@command
def lab(number: int | None, quick: bool, cache: Path | None, results: Path | None, as_json: bool) -> Any:
    """List the findings on fine-tuning and their verdicts. With a NUMBER, replicate that one (about 15 minutes)."""
    from tutelage.lab.run import CACHE, RESULTS, run_finding
    from tutelage.lab.terminal import overview, print_overview, print_result

    if number is None:
        rows = overview(results or RESULTS)
        if not as_json:
            print_overview(rows, new_console())
        return rows
    result = run_finding(number, cache or CACHE, results, quick)
    if not as_json:
        print_result(result, new_console())
    return result
