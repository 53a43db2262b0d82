"""The chat verb: standard input and output joined to the terminal chat."""

from __future__ import annotations

import io
import sys
from typing import Any

import click

from tutelage.cli.opening import open_stage

LONGEST_REPLY = 512  # tokens


def talk(model: str, temperature: float, seed: int, as_json: bool = False) -> Any:
    """Open a chat on the terminal; returns what was said."""
    from tutelage.engine.sampling import SamplingSettings
    from tutelage.evaluate.answers import can_chat
    from tutelage.find_model import find_model
    from tutelage.model.hub import load_model
    from tutelage.progress import status
    from tutelage.serve.terminal import chat as converse
    from tutelage.stages.base import RECIPE

    folder = find_model(model)
    checkpoint = load_model(folder)
    if not can_chat(checkpoint):
        raise ValueError(f"{folder} is a base model: it goes on with text and cannot chat; give a fine-tuned one")
    world, figures = None, {}
    if (folder.parent / RECIPE).exists():
        stage, _, step = folder.name.partition("@")  # RUN/STAGE@STEP: weights of the stage that were kept
        opened, name = open_stage(folder.with_name(stage))
        session, prefix = opened.session(name), f"evaluate.{name}.knowledge."
        world = session.world if session.chats_about_world else None
        summary = {} if step else opened.summary()  # measured on the stage's model, not on an earlier step's
        figures = {key.removeprefix(prefix): value for key, value in summary.items() if key.startswith(prefix)}
    room = checkpoint.model.config.context // 2
    settings = SamplingSettings(temperature=temperature, seed=seed, max_tokens=min(LONGEST_REPLY, room))

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

    return converse(checkpoint, world, figures, settings, read, write, note)
