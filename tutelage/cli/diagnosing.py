"""The doctor verb."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutelage.cli.opening import open_stage

if TYPE_CHECKING:
    from tutelage.recipe import Run


def diagnose_and_show(target: Path, as_json: bool) -> Any:
    """What is wrong with a run's finished stages, or with one of them."""
    from rich.console import Console

    from tutelage.doctor.diagnose import diagnose_run
    from tutelage.doctor.show import print_diagnoses
    from tutelage.finetune import command_of

    run, stage = _opened(target)
    diagnoses = diagnose_run(run, stage)
    if diagnoses is None:
        what = f"no stage of {run.folder} is" if stage is None else f"stage {stage} of {run.folder} is not"
        raise ValueError(f"{what} finished, so there is nothing to examine; to go on with it: {command_of(run)}")
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
