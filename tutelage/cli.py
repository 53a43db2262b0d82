"""The verbs. Only arguments are read here; the work is imported when a verb is called, so that help is instant."""

from __future__ import annotations

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
        except KeyboardInterrupt:
            fail("stopped; run the same command again to go on from the last checkpoint", INTERRUPTED)
        except BrokenPipeError:
            sys.exit(1)
        except Exception as error:
            if debug:
                raise
            from tutelage.stages.run import Stopped

            if isinstance(error, Stopped):
                fail(f"{error}; run the same command again to go on from there", INTERRUPTED)
            if isinstance(error, ValueError | OSError):
                fail(str(error), 1)
            fail(f"{type(error).__name__}: {error} (an error of ours: run again with --debug and report it)", 1)
        if as_json and result is not None:
            from tutelage.files import to_json

            click.echo(to_json(result))

    return command


def fail(message: str, status: int) -> None:
    click.echo(f"tutelage: {message}", err=True)
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
    recipe = load_recipe(recipe_path, [setting for setting in settings if not setting.startswith("out=")])
    return Run(recipe, Path(out[-1]) if out else Path("runs") / recipe.name)


@main.command()
@RECIPE
@SETTINGS
@click.option("--only", help="Run this stage alone.")
@verb
def run(recipe: Path, settings: tuple[str, ...], only: str | None, as_json: bool) -> dict[str, Any]:
    """Run every stage of RECIPE that is not finished, evaluate, and write DIR/summary.json."""
    result = open_run(recipe, settings)
    summary = result.run(only)
    return summary


if __name__ == "__main__":
    main()
