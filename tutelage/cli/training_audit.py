"""The audit that `sft` makes of its data: before training, and where training refuses a conversation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tutelage.cli.audit import load_renderer, print_report
from tutelage.cli.command import is_output_rank, new_console

if TYPE_CHECKING:
    from tutelage.chat.audit import Report


def audit_before_training(path: Path, held_out: Path | None, max_broken: float, as_json: bool) -> None:
    """Audit the texts of a training file, and compare it with the held-out file; print one line about warnings, or the
    whole report if training cannot start. Checks that need the model are part of the training itself.

    Raises:
        ValueError: there is an error among the findings.
    """
    from tutelage.chat.audit import audit_file

    report = audit_file(path, held_out=held_out, max_broken=max_broken)
    details = f"tutelage audit {path}" if held_out is None else f"tutelage audit {path} --held-out {held_out}"
    if report.errors:
        errors = ", ".join(f"{error.title} ({error.count:,})" for error in report.errors)
        _show(report, as_json)
        raise ValueError(f"{path} is not ready for training: {errors}; {_advice(report, details)}")
    if report.findings and not as_json and is_output_rank():
        warnings = ", ".join(f"{finding.title} ({finding.count:,})" for finding in report.findings)
        click.echo(f"{path}: {warnings}; for details: {details}")


@contextmanager
def audit_if_refused(paths: Sequence[Path], model: str, as_json: bool) -> Iterator[None]:
    """Where rows are broken or cannot be verified, show everything that an audit with the model finds in their file.

    Raises:
        ValueError: the same error, with the command that leaves such rows out.
    """
    from tutelage.chat import VerificationError
    from tutelage.chat.audit import audit_file
    from tutelage.chat.formats import TooManyBrokenRows

    try:
        yield
    except (VerificationError, TooManyBrokenRows) as error:
        renderer, context = load_renderer(model)
        for path in paths:
            report = audit_file(path, renderer=renderer, context=context)
            if {"unverifiable", "broken row"} & {finding.name for finding in report.findings}:
                _show(report, as_json)
                raise ValueError(f"{error}; {_advice(report, f'tutelage audit {path} --model {model}')}") from error
        raise


def _show(report: Report, as_json: bool) -> None:
    if not as_json and is_output_rank():
        print_report(report, new_console(stderr=True))


def _advice(report: Report, details: str) -> str:
    if any(error.auto_fixable for error in report.errors):
        return f"for details: {details}; to leave these rows out: {details} --fix FILE"
    return f"for details: {details}"
