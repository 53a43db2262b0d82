"""The verbs. Only arguments are read here; the work is imported when a verb is called, so that help is instant."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from tutelage import __version__

INTERRUPTED = 130


def verb(function: Callable[..., Any]) -> Callable[..., Any]:
    """What every verb shares: --json and --debug, and one sentence instead of a stack trace."""

    @click.option("--json", "as_json", is_flag=True, help="Print the result as JSON; progress as JSON lines.")
    @click.option("--debug", is_flag=True, help="Show the stack trace of an error.")
    @wraps(function)
    def command(*args: Any, as_json: bool, debug: bool, **options: Any) -> None:
        from tutelage import progress

        if as_json:
            progress.set_mode("json")
        try:
            result = function(*args, as_json=as_json, **options)
            if as_json:
                from tutelage.files import to_json

                click.echo(to_json(result))
            sys.stdout.flush()  # a reader that has gone away is met here, and not when Python is already ending
        except KeyboardInterrupt:
            fail("stopped; run the same command again to go on from the last checkpoint", INTERRUPTED, as_json)
        except BrokenPipeError:
            # Nobody reads standard output any more. What it still holds must go somewhere, or Python complains.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        except Exception as error:
            if debug:
                raise
            fail(*sentence(error), as_json)

    return command


def sentence(error: Exception) -> tuple[str, int]:
    """An error as one sentence for a person, and the exit status."""
    from tutelage.files import DiskError, explain
    from tutelage.process import Stopped

    if isinstance(error, Stopped):
        return f"{error}; run the same command again to go on from there", INTERRUPTED
    if isinstance(error, OSError) and not isinstance(error, DiskError) and error.filename:
        return str(explain(error, Path(error.filename), "use")), 1
    if isinstance(error, ValueError | OSError):
        return str(error), 1
    return f"{type(error).__name__}: {error} (an error of ours: run again with --debug and report it)", 1


def fail(message: str, status: int, as_json: bool) -> None:
    """End with one sentence on standard error: for machines a JSON line, as all that stands there."""
    from tutelage.files import to_json

    line = to_json({"event": "error", "message": message}, indent=None) if as_json else f"tutelage: {message}"
    click.echo(line, err=True)
    sys.exit(status)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Raise a language model from raw text to an assistant."""


RECIPE = click.argument("recipe", type=click.Path(path_type=Path))
SETTINGS = click.argument("settings", nargs=-1, metavar="[out=DIR] [dotted.key=value ...]")


def open_run(recipe_path: Path, settings: tuple[str, ...]) -> Any:
    """The run that a recipe's path and its overrides stand for."""
    from tutelage.recipe import Run, load_recipe

    out = [setting.removeprefix("out=") for setting in settings if setting.startswith("out=")]
    if "" in out:
        raise ValueError("out= names no folder; write out=DIR, as in out=runs/second")
    recipe = load_recipe(recipe_path, [setting for setting in settings if not setting.startswith("out=")])
    return Run(recipe, Path(out[-1]) if out else Path("runs") / recipe.name)


@main.command()
@RECIPE
@SETTINGS
@click.option("--only", metavar="STAGE", help="Run this stage alone; what it builds on must be finished.")
@verb
def run(recipe: Path, settings: tuple[str, ...], only: str | None, as_json: bool) -> Any:
    """Run every stage of RECIPE that is not finished, evaluate, and write DIR/summary.json (DIR: runs/NAME)."""
    return finish(open_run(recipe, settings), only, as_json)


def finish(opened: Any, only: str | None, as_json: bool) -> Any:
    """Run, and show the summary to a person."""
    from rich.console import Console

    from tutelage.report.terminal import print_summary

    summary = opened.run(only)
    if not as_json:
        print_summary(summary, Console())
        click.echo(f"every figure: {opened.folder / 'summary.json'}")
    return summary


@main.command()
@SETTINGS
@verb
def demo(settings: tuple[str, ...], as_json: bool) -> Any:
    """The whole way on the built-in world; then offers a chat when a person is there."""
    from tutelage.config import recipes_folder

    opened = open_run(recipes_folder() / "demo.toml", settings)
    summary = finish(opened, None, as_json)
    last = opened.folder / list(opened.recipe.stages)[-1]
    if not as_json and sys.stdin.isatty():
        talk(last, temperature=0.0, seed=0)
    elif not as_json:
        click.echo(f"chat with it: tutelage chat {last}")
    return summary


@main.command()
@RECIPE
@SETTINGS
@verb
def plan(recipe: Path, settings: tuple[str, ...], as_json: bool) -> Any:
    """What RECIPE costs: sizes, tokens, FLOPs, time and memory, and what is already done. Runs nothing."""
    from rich.console import Console

    from tutelage.plan import plan as make_plan
    from tutelage.report.terminal import print_plan

    result = make_plan(open_run(recipe, settings))
    if not as_json:
        print_plan(result, Console())
    return result


STAGE_FOLDER = click.argument("folder", type=click.Path(path_type=Path, resolve_path=True), metavar="RUN/STAGE")


def open_stage(folder: Path) -> Any:
    """The run that a finished stage's folder belongs to."""
    from tutelage.config import convert
    from tutelage.files import read_json
    from tutelage.recipe import RECIPE, Recipe, Run

    path = folder.parent / RECIPE
    if (folder / RECIPE).exists():
        stages = ", ".join(sorted(found.parent.name for found in folder.glob("*/stage.json")))
        raise ValueError(
            f"{folder} is a whole run; give {folder}/STAGE, one of its finished stages: {stages or 'none'}"
        )
    if not path.exists():
        raise ValueError(
            f"{folder} is not the folder of a stage: {path} is missing; give RUN/STAGE, as in runs/demo/chat"
        )
    made = Run(convert(read_json(path), Recipe, str(path)), folder.parent)
    if folder.name not in made.recipe.stages:
        raise ValueError(f"{folder.parent} has no stage '{folder.name}'; it has {', '.join(made.recipe.stages)}")
    return made


@main.command()
@STAGE_FOLDER
@click.option("--step", default=1, show_default=True, help="Which optimizer step to show.")
@click.option(
    "--segments", type=click.IntRange(min=1), default=3, show_default=True, help="How many packed segments to show."
)
@click.option("--text", is_flag=True, help="Running text instead of a table.")
@click.option("--svg", type=click.Path(path_type=Path), help="Also save what is shown as a picture.")
@verb
def look(folder: Path, step: int, segments: int, text: bool, svg: Path | None, as_json: bool) -> Any:
    """Real packed rows of a stage: position, token, role, label and weight."""
    from rich.console import Console

    from tutelage.files import write_text
    from tutelage.stages.look import rows_as_data, show_rows, step_batches

    if as_json and svg is not None:
        raise ValueError("--json prints data and --svg saves a picture; ask for one of the two")
    opened = open_stage(folder)
    micro, tokenizer = step_batches(opened.recipe.stages[folder.name], opened.setting(folder.name), step)
    if as_json:
        return rows_as_data(micro, tokenizer, segments)
    console = Console(record=svg is not None)
    show_rows(micro, tokenizer, segments, text, console)
    if svg is not None:
        picture = console.export_svg(title=f"tutelage look {folder.parent.name}/{folder.name}")
        # rich would have the viewer fetch its font from the network; the viewer's own monospaced one does.
        write_text(svg, re.sub(r"@font-face \{.*?\}", "", picture, flags=re.DOTALL))
    return None


@main.command()
@STAGE_FOLDER
@verb
def evaluate(folder: Path, as_json: bool) -> Any:
    """Run the evaluations that the recipe asks for on a finished stage; those measured before are shown again."""
    from rich.console import Console

    from tutelage.report.terminal import print_summary

    opened = open_stage(folder)
    if opened.stage_done(folder.name) is None:
        raise ValueError(f"stage {folder.name} is not finished; run its recipe first")
    summary = opened.summarise()
    if not as_json:
        print_summary(summary, Console())
    return {key: value for key, value in summary.items() if key.startswith(f"evaluate.{folder.name}.")}


@main.command()
@STAGE_FOLDER
@click.option("--temperature", default=0.0, show_default=True, help="0 takes the most likely token.")
@click.option("--seed", default=0, show_default=True)
@verb
def chat(folder: Path, temperature: float, seed: int, as_json: bool) -> Any:
    """Talk with a fine-tuned stage. With --json messages are read a line each and the replies come at the end."""
    return talk(folder, temperature, seed, as_json)


def talk(folder: Path, temperature: float, seed: int, as_json: bool = False) -> Any:
    """Open a chat on the terminal; returns what was said."""
    from tutelage.engine.sampling import SamplingSettings
    from tutelage.evaluate.asking import can_chat
    from tutelage.model.hub import load_model
    from tutelage.progress import status
    from tutelage.serve.terminal import chat as converse
    from tutelage.stages.data import world_of

    opened = open_stage(folder)
    checkpoint = load_model(folder)
    if not can_chat(checkpoint):
        raise ValueError(f"{folder} is a base model: it goes on with text and cannot chat; give a fine-tuned stage")
    settings = SamplingSettings(temperature=temperature, seed=seed, max_tokens=64)
    prefix = f"evaluate.{folder.name}.knowledge."
    figures = {name.removeprefix(prefix): value for name, value in opened.summary().items() if name.startswith(prefix)}

    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")  # a byte that is no UTF-8 must not end the chat

    def read() -> str:
        try:
            if not as_json:
                return input("> ")
            if line := sys.stdin.readline():
                return line
        except KeyboardInterrupt:
            pass
        raise EOFError

    def write(piece: str) -> None:
        if not as_json:
            click.echo(piece, nl=False)

    def note(line: str) -> None:
        if as_json:
            status(line)
        else:
            click.secho(line, dim=True)

    return converse(checkpoint, world_of(opened.recipe.data), figures, settings, read, write, note)


if __name__ == "__main__":
    main()
