"""Types, arguments and options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click

from tutelage.tracking import TRACKERS

F = TypeVar("F", bound=Callable[..., Any])

MODEL = "RUN[/STAGE]|DIR|NAME"
FILE = click.Path(path_type=Path)


class _Folder(click.Path):
    """A folder on a disk; an address such as s3://bucket is no folder, but as a path it would be one named "s3:"."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """As `click.Path`."""
        if "://" in str(value):
            self.fail(not_a_folder(str(value)), param, ctx)
        return super().convert(value, param, ctx)


FOLDER = _Folder(path_type=Path, resolve_path=True)
TRAIN_ON = click.Choice(["assistant", "last_assistant", "response_only", "all_tokens"])
SHARE = click.FloatRange(0, 1)
TOO_LONG = click.Choice(["error", "split", "drop"])
RECIPE = click.argument("recipe", metavar="RECIPE.toml", type=click.Path(path_type=Path))
TRACK = click.option("--track", type=click.Choice(TRACKERS), help="Also log every step to this experiment tracker.")
SETTINGS = click.argument("settings", nargs=-1, metavar="[out=DIR] [dotted.key=value ...]")
OUT = click.option("--out", type=FOLDER, metavar="DIR", help="Folder of the run.")


def data_option(rows: str, note: str = "by their shares") -> Callable[[F], F]:
    """--data, of commands that train on files of rows."""
    text = f"{rows.capitalize()}: JSON (lines), Parquet or CSV. Several files are mixed {note}."
    return click.option("--data", required=True, multiple=True, metavar="FILE[=SHARE]", help=text)


def held_out_option(rows: str, default: str = "10% of --data if it has 100 or more") -> Callable[[F], F]:
    """--held-out, of the same."""
    text = f"Held-out {rows} for evaluation, never trained on; default: {default}."
    return click.option("--held-out", type=FILE, metavar="FILE", help=text)


def replay_option(default: str = "0") -> Callable[[F], F]:
    """--replay, of the same."""
    text = (
        "Against forgetting: share of the trained tokens that comes from the model's training text, or from FILE; "
        f"default: {default}."
    )
    return click.option("--replay", metavar="[FILE=]SHARE", help=text)


def not_a_folder(address: str) -> str:
    """The end of a sentence about an output that is an address."""
    return f"is {address}, but it must be a folder; write to a local or mounted disk, and copy the folder from there"


def split_out(settings: Iterable[str]) -> tuple[list[str], Path | None]:
    """The overrides in SETTINGS, and the folder of the last out=DIR; ValueError if out= is empty
    or an address."""
    overrides, out = split_address(settings)
    if out is not None and "://" in out:
        raise ValueError(f"out= {not_a_folder(out)}")
    return overrides, None if out is None else Path(out)


def split_address(settings: Iterable[str]) -> tuple[list[str], str | None]:
    """As `split_out`, for commands that also write to addresses."""
    settings = list(settings)
    outs = [setting.removeprefix("out=") for setting in settings if setting.startswith("out=")]
    if "" in outs:
        raise ValueError("out= is empty; write out=DIR, such as out=runs/second")
    return [setting for setting in settings if not setting.startswith("out=")], outs[-1] if outs else None
