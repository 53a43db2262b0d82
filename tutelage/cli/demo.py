"""The `demo` command: pre-training, SFT, evaluation and chat on the built-in world."""

from __future__ import annotations

import sys
from typing import Any

import click

from tutelage.cli.chat import MAX_REPLY_TOKENS, terminal_chat
from tutelage.cli.command import command
from tutelage.cli.finish import exit_if_forgetting, finish
from tutelage.cli.open_run import open_run
from tutelage.cli.options import SETTINGS, TRACK
from tutelage.tracking import TrackerName


@click.command(short_help="Train a small model on a built-in world; then chat.")
@SETTINGS
@TRACK
@command
def demo(settings: tuple[str, ...], track: TrackerName | None, as_json: bool) -> Any:
    """Pre-train a small model on a built-in world, fine-tune it and evaluate it, in minutes. On a terminal, chat with
    it afterwards. DIR defaults to runs/demo."""
    from tutelage.config import recipes_folder
    from tutelage.engine.sampling import SamplingSettings

    opened = open_run(recipes_folder() / "demo.toml", settings, track)
    summary = finish(opened, None, as_json)
    model = opened.folder / list(opened.recipe.stages)[-1]
    if not as_json and sys.stdin.isatty():
        terminal_chat(str(model), SamplingSettings(max_tokens=MAX_REPLY_TOKENS))
    elif not as_json:
        click.echo(f"chat with it: tutelage chat {model}")
    exit_if_forgetting(opened, summary, as_json)
    return summary
