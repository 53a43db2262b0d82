"""The `doctor` command: what is wrong with a run, and how to fix it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tutelage.cli.command import command, new_console
from tutelage.cli.open_run import open_stage
from tutelage.cli.options import FOLDER

if TYPE_CHECKING:
    from tutelage.runner import Run


@click.command(short_help="Diagnose a run: symptom, cause, fix.")
@click.argument("target", type=FOLDER, metavar="RUN[/STAGE]")
@command
def doctor(target: Path, as_json: bool) -> Any:
    """Diagnose the finished stages of a run, or one of them, from their own numbers: symptom, cause and fix, each with
    its evidence."""
    from tutelage.doctor.diagnose import diagnose_run
    from tutelage.doctor.show import print_diagnoses
    from tutelage.find_model import resume_command

    run, stage = _open(target)
    diagnoses = diagnose_run(run, stage)
    if diagnoses is None:
        subject = f"no stage of {run.folder} is" if stage is None else f"stage {stage} of {run.folder} is not"
        raise ValueError(f"{subject} finished, so there is nothing to diagnose; to resume it: {resume_command(run)}")
    if not as_json:
        print_diagnoses(diagnoses, new_console())
    return diagnoses


def _open(target: Path) -> tuple[Run, str | None]:
    """A run and None, or the run of a stage and the stage's name."""
    from tutelage.recipe import read_recipe
    from tutelage.runner import Run
    from tutelage.stages.base import RECIPE

    if not (target / RECIPE).exists():
        return open_stage(target)
    return Run(read_recipe(target / RECIPE), target), None
