"""The chat verb: standard input and output joined to the terminal chat."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import click

from tutelage.cli.opening import open_stage


def talk(folder: Path, temperature: float, seed: int, as_json: bool = False) -> Any:
    """Open a chat on the terminal; returns what was said."""
    from tutelage.engine.sampling import SamplingSettings
    from tutelage.evaluate.asking import can_chat
    from tutelage.model.hub import load_model
    from tutelage.progress import status
    from tutelage.serve.terminal import chat as converse
    from tutelage.stages.data import world_of

    opened, name = open_stage(folder)
    checkpoint = load_model(opened.folder / name)
    if not can_chat(checkpoint):
        raise ValueError(
            f"{opened.folder / name} is a base model: it goes on with text and cannot chat; give a fine-tuned stage"
        )
    settings = SamplingSettings(temperature=temperature, seed=seed, max_tokens=64)
    prefix = f"evaluate.{name}.knowledge."
    figures = {key.removeprefix(prefix): value for key, value in opened.summary().items() if key.startswith(prefix)}

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
