"""From what is written on the command line to runs and stages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what a verb needs is imported when it is called, so that help is instant
    from tutelage.runner import Run


def open_run(recipe_path: Path, settings: tuple[str, ...]) -> Run:
    """The run that a recipe's path and its overrides stand for."""
    from tutelage.recipe import load_recipe
    from tutelage.runner import Run

    out = [setting.removeprefix("out=") for setting in settings if setting.startswith("out=")]
    if "" in out:
        raise ValueError("out= names no folder; write out=DIR, as in out=runs/second")
    recipe = load_recipe(recipe_path, [setting for setting in settings if not setting.startswith("out=")])
    return Run(recipe, Path(out[-1]) if out else Path("runs") / recipe.name)


def open_stage(folder: Path) -> tuple[Run, str]:
    """The run that a finished stage's folder belongs to, and the stage's name; a run's own folder means its last
    finished stage."""
    from tutelage.config import suggest
    from tutelage.find_model import find_model
    from tutelage.recipe import read_recipe
    from tutelage.runner import Run
    from tutelage.stages.base import RECIPE

    folder = find_model(folder) if folder.is_dir() else folder
    path = folder.parent / RECIPE
    if not path.exists():
        raise ValueError(
            f"{folder} is neither a run nor a stage of one: no {RECIPE} stands in it or beside it; give RUN or "
            "RUN/STAGE, as in runs/demo/chat"
        )
    made = Run(read_recipe(path), folder.parent)
    if folder.name not in made.recipe.stages:
        raise ValueError(f"{folder.parent} has no stage '{folder.name}'{suggest(folder.name, made.recipe.stages)}")
    return made, folder.name


def refuse_unfinished(run: Run, stage: str) -> None:
    """ValueError, which says what to run, where a stage is not finished, or is but is not what would be made now."""
    from tutelage.files import read_json
    from tutelage.find_model import resume_command
    from tutelage.stages.base import STAGE

    if run.stage_done(stage) is not None:
        return
    path = run.folder / stage / STAGE
    info = read_json(path) if path.exists() else None
    if isinstance(info, dict) and "fingerprint" in info:
        raise ValueError(
            f"stage {stage} of {run.folder} was trained before its data, its settings, the model it goes on from or "
            f"Tutelage itself changed; to train it again: {resume_command(run)}"
        )
    raise ValueError(f"stage {stage} of {run.folder} is not finished; to resume it: {resume_command(run)}")
