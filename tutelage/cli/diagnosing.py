"""The doctor verb, and the gate at which a run that forgot too much ends."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tutelage.cli.command import fail
from tutelage.cli.opening import open_stage

if TYPE_CHECKING:
    from tutelage.recipe import Run

TOO_FORGETFUL = 3  # the exit status


def diagnose_and_show(target: Path, as_json: bool) -> Any:
    """What is wrong with a run's finished stages, or with one of them."""
    from rich.console import Console

    from tutelage.doctor.diagnose import diagnose_run
    from tutelage.doctor.show import print_diagnoses

    run, stage = _opened(target)
    diagnoses = diagnose_run(run, stage)
    if diagnoses is None:
        raise ValueError(f"no stage of {run.folder} is finished, so there is nothing to examine; run its recipe first")
    if not as_json:
        print_diagnoses(diagnoses, Console())
    return diagnoses


def _opened(target: Path) -> tuple[Run, str | None]:
    """A run, or the run that a stage belongs to and the stage's name."""
    from tutelage.config import convert
    from tutelage.files import read_json
    from tutelage.recipe import RECIPE, Recipe, Run

    if not (target / RECIPE).exists():
        return open_stage(target)
    return Run(convert(read_json(target / RECIPE), Recipe, str(target / RECIPE)), target), None


def end_at_the_gate(run: Run, summary: Mapping[str, Any], as_json: bool) -> None:
    """End with status 3 and a sentence where a stage forgot more than its max_forgetting allows; all is written."""
    from tutelage.files import to_json

    sentence = run.too_forgetful() if summary else ""
    if sentence:
        if as_json:
            click.echo(to_json(summary))
        fail(sentence, TOO_FORGETFUL, as_json)
