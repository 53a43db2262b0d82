"""The `lab` command: replications of published findings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tutelage.cli.command import command, new_console
from tutelage.cli.options import FOLDER


@click.command(short_help="Replicate published findings.")
@click.argument("number", required=False)
@click.option("--all", "every", is_flag=True, help="Every finding without a result of this version.")
@click.option(
    "--hours", type=click.FloatRange(min=0, min_open=True), help="With --all: begin none that would end later."
)
@click.option("--quick", is_flag=True, help="A tiny model that learns nothing, to test that it runs.")
@click.option(
    "--model", type=FOLDER, metavar="DIR", help="Measure the finding on this checkpoint, without training: 21, 22, 29."
)
@click.option("--cache", type=FOLDER, metavar="DIR", help="Folder of finished stages (default runs/lab).")
@click.option(
    "--results",
    type=FOLDER,
    metavar="DIR",
    help="Folder of results; their page is DIR.md (default docs/lab, with --quick a folder in --cache).",
)
@command
def lab(
    number: str | None, every: bool, hours: float | None, quick: bool, model: Path | None, cache: Path | None,
    results: Path | None, as_json: bool,
) -> Any:  # fmt: skip
    """List the findings and their verdicts. With a NUMBER, such as 1 or N8, replicate that one (10 to 40 minutes).

    Finished stages are kept: after Ctrl-C the same command goes on.
    """
    from tutelage.lab.model_run import measure_on_model
    from tutelage.lab.run import CACHE, RESULTS, run_finding, run_findings
    from tutelage.lab.terminal import overview, print_overview, print_result

    if number is not None and every:
        raise ValueError("give the number of a finding, or --all, not both")
    if hours is not None and not every:
        raise ValueError("--hours goes with --all")
    if model is not None and number is None:
        raise ValueError("--model goes with the number of a finding")
    if number is None:
        if every:
            run_findings(hours, cache or CACHE, results, quick)
        rows = overview(results or RESULTS)
        if not as_json:
            print_overview(rows, new_console())
        return rows
    if model is not None:
        result = measure_on_model(number, model, cache or CACHE, results, quick)
    else:
        result = run_finding(number, cache or CACHE, results, quick)
    if not as_json:
        print_result(result, new_console())
    return result
