"""The `chat` command: a chat on standard input and output."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, Any

import click
import msgspec

from tutelage.cli.command import command
from tutelage.cli.open_run import open_stage, world_search_of
from tutelage.cli.options import MODEL

if TYPE_CHECKING:
    from tutelage.engine.sampling import SamplingSettings

MAX_REPLY_TOKENS = 512


@click.command(short_help="Chat with a fine-tuned model.")
@click.argument("model", metavar=MODEL)
@click.option("--temperature", default=0.0, show_default=True, help="Sampling temperature; 0 = greedy.")
@click.option("--top-p", default=1.0, show_default=True, help="Sample from the likeliest tokens of this probability.")
@click.option("--top-k", type=click.IntRange(min=1), help="Sample from this many likeliest tokens; default: all.")
@click.option("--max-tokens", type=click.IntRange(min=1), help="Longest reply; default: 512, or half of the context.")
@click.option("--seed", default=0, show_default=True, help="Random seed.")
@click.option("--system", metavar="TEXT", help="System message; default: the one that all trained conversations share.")
@click.option("--int8", is_flag=True, help="Multiply with 8-bit weights: faster on a CPU, slightly less exact.")
@click.option("--speculate", metavar="ngram|MODEL", help="Guess tokens, from earlier text or by a smaller model.")
@click.option("--tools", metavar="TOOL,...",
              help="What it may call: search, search=FOLDER, calculator, python, FILE.py, mcp=COMMAND.")  # fmt: skip
@click.option("--max-calls", type=click.IntRange(min=1), default=8, show_default=True, help="Most calls in a reply.")
@click.option("--unsafe-sandbox", is_flag=True, help="Run Python with your rights where there is no sandbox.")
@command
def chat(
    model: str,
    temperature: float,
    top_p: float,
    top_k: int | None,
    max_tokens: int | None,
    seed: int,
    system: str | None,
    int8: bool,
    speculate: str | None,
    tools: str | None,
    max_calls: int,
    unsafe_sandbox: bool,
    as_json: bool,
) -> Any:
    """Chat with a fine-tuned model. With --json, each line of input is a message, and the replies are printed at the
    end."""
    from tutelage.engine.sampling import SamplingSettings

    longest = MAX_REPLY_TOKENS if max_tokens is None else max_tokens
    settings = SamplingSettings(temperature=temperature, top_p=top_p, top_k=top_k, max_tokens=longest, seed=seed)
    return terminal_chat(model, settings, system, as_json, int8, speculate, tools, max_calls, unsafe_sandbox)


def terminal_chat(
    model: str,
    settings: SamplingSettings,
    system: str | None = None,
    as_json: bool = False,
    int8: bool = False,
    speculate: str | None = None,
    tools: str | None = None,
    max_calls: int = 8,
    unsafe: bool = False,
) -> Any:
    """Chat on standard input and output until the input ends; returns the exchanges."""
    from tutelage.evaluate.answers import can_chat
    from tutelage.find_model import find_model
    from tutelage.model.hub import load_model
    from tutelage.progress import status
    from tutelage.serve.terminal import chat as chat_loop
    from tutelage.stages.base import RECIPE
    from tutelage.tools.environment import ToolLimits
    from tutelage.tools.open_tools import open_tools

    folder = find_model(model)
    checkpoint = load_model(folder)
    if not can_chat(checkpoint):
        raise ValueError(f"{folder} is a base model and cannot chat; give a fine-tuned one")
    world, figures = None, {}
    if (folder.parent / RECIPE).exists():
        stage, _, step = folder.name.partition("@")  # RUN/STAGE@STEP: a kept checkpoint of the stage
        opened, name = open_stage(folder.with_name(stage))
        session, prefix = opened.session(name), f"evaluate.{name}.knowledge."
        world = session.world if session.chats_about_world else None
        summary = {} if step else opened.summary()  # evaluations are of the last step
        figures = {key.removeprefix(prefix): value for key, value in summary.items() if key.startswith(prefix)}
    room = checkpoint.model.config.context // 2
    settings = msgspec.structs.replace(settings, max_tokens=min(settings.max_tokens, room))

    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")  # invalid UTF-8 must not end the chat

    def read() -> str:
        try:
            if not as_json:
                return input("> ")
            if line := sys.stdin.readline():
                return line
        except KeyboardInterrupt:
            pass
        raise EOFError

    def write(text: str) -> None:
        if not as_json:
            click.echo(text, nl=False)

    def note(line: str) -> None:
        if as_json:
            status(line)
        else:
            click.secho(line, dim=True)

    usable = open_tools(tools, world_search_of(folder), unsafe=unsafe) if tools else []
    limits = ToolLimits(calls=max_calls)
    return chat_loop(checkpoint, world, figures, settings, read, write, note, system, int8, speculate, usable, limits)
