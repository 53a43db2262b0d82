"""How a run ends on the command line: the summary, the report, and the exit status of a run that forgot too much."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from tutelage.cli.command import fail, new_console

if TYPE_CHECKING:
    from tutelage.runner import Run

EXIT_FORGETTING = 3


def finish(opened: Run, only: str | None, as_json: bool) -> Any:
    """Predict time and memory, run, write the report, and unless `as_json` print the summary; returns the summary."""
    from tutelage.doctor.diagnose import diagnose_run
    from tutelage.doctor.show import diagnoses_section, print_diagnoses
    from tutelage.predicted import predict
    from tutelage.report.page import write_report
    from tutelage.report.terminal import print_summary

    predict(opened)
    summary = opened.run(only)
    diagnoses = diagnose_run(opened)
    report = write_report(opened, [diagnoses_section(diagnoses)])
    if not as_json:
        print_summary(summary, new_console())
        print_diagnoses(diagnoses, new_console())
        if opened.recipe.note:
            click.echo(f"note: {opened.recipe.note}")
        click.echo(f"report: {report}")
        click.echo(f"all figures: {opened.folder / 'summary.json'}")
    return summary


def exit_if_forgetting(run: Run, summary: Mapping[str, Any], as_json: bool) -> None:
    """Exit with status 3 and an error message if a stage exceeds its max_forgetting. Everything is written by then."""
    from tutelage.files import to_json

    message = run.forgetting_exceeds_limit() if summary else ""
    if message:
        if as_json:
            click.echo(to_json(summary))
        fail(message, EXIT_FORGETTING, as_json)
