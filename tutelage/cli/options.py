"""What the options of several verbs take."""

from __future__ import annotations

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
