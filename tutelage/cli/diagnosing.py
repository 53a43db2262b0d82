"""The doctor verb."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutelage.cli.opening import open_stage

if TYPE_CHECKING:
    from tutelage.runner import Run


def diagnose_and_show(target: Path, as_json: bool) -> Any:
    """What is wrong with a run's finished stages, or with one of them."""
    from rich.console import Console

    from tutelage.doctor.diagnose import diagnose_run
    from tutelage.doctor.show import print_diagnoses
    from tutelage.find_model import resume_command

    run, stage = _opened(target)
    diagnoses = diagnose_run(run, stage)
    if diagnoses is None:
        what = f"no stage of {run.folder} is" if stage is None else f"stage {stage} of {run.folder} is not"
        raise ValueError(f"{what} finished, so there is nothing to examine; to resume it: {resume_command(run)}")
    if not as_json:
        print_diagnoses(diagnoses, Console())
    return diagnoses


def _opened(target: Path) -> tuple[Run, str | None]:
    """A run, or the run that a stage belongs to and the stage's name."""
    from tutelage.recipe import read_recipe
    from tutelage.runner import Run
    from tutelage.stages.base import RECIPE

    if not (target / RECIPE).exists():
        return open_stage(target)
    return Run(read_recipe(target / RECIPE), target), None
