"""Types, arguments and options that several commands share."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

MODEL = "RUN[/STAGE]|DIR|NAME"
FILE = click.Path(path_type=Path)
FOLDER = click.Path(path_type=Path, resolve_path=True)
TRAIN_ON = click.Choice(["assistant", "last_assistant", "response_only", "all_tokens"])
SHARE = click.FloatRange(0, 1)
TOO_LONG = click.Choice(["error", "split", "drop"])
RECIPE = click.argument("recipe", metavar="RECIPE.toml", type=click.Path(path_type=Path))
SETTINGS = click.argument("settings", nargs=-1, metavar="[out=DIR] [dotted.key=value ...]")


def split_out(settings: Iterable[str]) -> tuple[list[str], Path | None]:
    """The overrides in SETTINGS, and the folder of the last out=DIR; ValueError if out= is empty."""
    settings = list(settings)
    folders = [setting.removeprefix("out=") for setting in settings if setting.startswith("out=")]
    if "" in folders:
        raise ValueError("out= is empty; write out=DIR, such as out=runs/second")
    overrides = [setting for setting in settings if not setting.startswith("out=")]
    return overrides, Path(folders[-1]) if folders else None
