"""Opens the run or stage that command-line arguments name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tutelage.cli.options import split_out

if TYPE_CHECKING:  # imported by the functions that need it, so that help is instant
    from tutelage.runner import Run
    from tutelage.tools.tool import Tool
    from tutelage.tracking import TrackerName


def open_run(recipe_path: Path, settings: tuple[str, ...], track: TrackerName | None = None) -> Run:
    """The run of a recipe with its overrides, in the folder out=DIR or runs/NAME."""
    from tutelage.recipe import load_recipe
    from tutelage.runner import Run

    overrides, out = split_out(settings)
    recipe = load_recipe(recipe_path, overrides)
    return Run(recipe, out or Path("runs") / recipe.name, track_with=track)


def open_stage(folder: Path) -> tuple[Run, str]:
    """The run of a stage's folder, and the stage's name. A run's own folder means its last finished stage.

    Raises:
        ValueError: the folder is neither a run nor a stage of one.
    """
    from tutelage.config import suggest
    from tutelage.find_model import find_model
    from tutelage.recipe import read_recipe
    from tutelage.runner import Run
    from tutelage.stages.base import RECIPE

    folder = find_model(folder) if folder.is_dir() else folder
    path = folder.parent / RECIPE
    if not path.exists():
        raise ValueError(
            f"{folder} is neither a run nor a stage of one: there is no {RECIPE} in it or beside it; give RUN or "
            "RUN/STAGE, such as runs/demo/chat"
        )
    run = Run(read_recipe(path), folder.parent)
    if folder.name not in run.recipe.stages:
        raise ValueError(f"{folder.parent} has no stage '{folder.name}'{suggest(folder.name, run.recipe.stages)}")
    return run, folder.name


def check_finished(run: Run, stage: str) -> None:
    """ValueError if a stage is not finished, or is out of date; the message has the command to run."""
    from tutelage.files import read_json
    from tutelage.find_model import resume_command
    from tutelage.stages.base import STAGE

    if run.stage_done(stage) is not None:
        return
    path = run.folder / stage / STAGE
    info = read_json(path) if path.exists() else None
    if isinstance(info, dict) and "fingerprint" in info:
        raise ValueError(
            f"stage {stage} of {run.folder} is out of date: its data, its settings, its parent model or Tutelage "
            f"itself has changed since; to train it again: {resume_command(run)}"
        )
    raise ValueError(f"stage {stage} of {run.folder} is not finished; to resume it: {resume_command(run)}")


def world_search_of(folder: Path) -> Callable[[], Tool] | None:
    """Makes the search over the built-in world of a stage's run; None where the folder is of no such run."""
    from tutelage.stages.base import RECIPE
    from tutelage.tools.world_pages import world_index, world_search_tool

    if not (folder.parent / RECIPE).exists():
        return None
    opened, name = open_stage(folder.with_name(folder.name.partition("@")[0]))
    session = opened.session(name)
    world, indexed = session.world, session.indexed_people
    return None if world is None else lambda: world_search_tool(world_index(world, indexed))
