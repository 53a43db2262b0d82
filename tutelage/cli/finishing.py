"""How a run ends on the command line: what it came to, its report, and the gate for one that forgot too much."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from tutelage.cli.command import fail

if TYPE_CHECKING:
    from tutelage.runner import Run

TOO_FORGETFUL = 3  # the exit status


def finish(opened: Run, only: str | None, as_json: bool) -> Any:
    """Run, write the report, and show the summary to a person."""
    from rich.console import Console

    from tutelage.doctor.diagnose import diagnose_run
    from tutelage.doctor.show import diagnoses_section, print_diagnoses
    from tutelage.report.page import write_report
    from tutelage.report.terminal import print_summary

    summary = opened.run(only)
    diagnoses = diagnose_run(opened)
    report = write_report(opened, [diagnoses_section(diagnoses)])
    if not as_json:
        print_summary(summary, Console())
        print_diagnoses(diagnoses, Console())
        click.echo(f"the report, for a browser: {report}")
        click.echo(f"every figure: {opened.folder / 'summary.json'}")
    return summary


def end_at_the_gate(run: Run, summary: Mapping[str, Any], as_json: bool) -> None:
    """End with status 3 and a sentence where a stage forgot more than its max_forgetting allows; all is written."""
    from tutelage.files import to_json

    sentence = run.forgetting_exceeds_limit() if summary else ""
    if sentence:
        if as_json:
            click.echo(to_json(summary))
        fail(sentence, TOO_FORGETFUL, as_json)
