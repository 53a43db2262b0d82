"""The `evaluate` command: the evaluation suites of a finished stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tutelage.cli.command import command, new_console
from tutelage.cli.open_run import check_finished, open_stage
from tutelage.cli.options import FOLDER


@click.command(short_help="Evaluate a finished stage.")
@click.argument("folder", type=FOLDER, metavar="RUN[/STAGE]")
@click.option("--force", is_flag=True, help="Repeat evaluations that have results.")
@command
def evaluate(folder: Path, force: bool, as_json: bool) -> Any:
    """Run the evaluation suites that the recipe names for a finished stage. Existing results are reused."""
    from tutelage.doctor.diagnose import diagnose_run
    from tutelage.doctor.show import diagnoses_section
    from tutelage.report.page import write_report
    from tutelage.report.terminal import print_summary

    opened, name = open_stage(folder)
    check_finished(opened, name)
    summary = opened.summarise(again=name if force else None)
    write_report(opened, [diagnoses_section(diagnose_run(opened))])
    if not as_json:
        print_summary(summary, new_console())
    return {key: value for key, value in summary.items() if key.startswith(f"evaluate.{name}.")}
