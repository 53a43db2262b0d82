"""The `sft` command: fine-tunes a model without a recipe file."""

from __future__ import annotations

from typing import Any

import click

from tutelage.cli.command import command
from tutelage.cli.fine_tune import BATCH_ROWS, FIRST, SHARED, fine_tune, with_options
from tutelage.cli.options import OUT, TOO_LONG, TRAIN_ON, data_option, held_out_option, replay_option

# What its own options set of the stage.
OPTIONS = {"train_on": "train_on", "too_long": "too_long"}
OWN = (
    data_option("conversations", "by their shares of the trained tokens: --data a.jsonl=2 --data b.jsonl=1"),
    OUT,
    held_out_option("conversations", "5% of --data if it has 100 or more, 20% from 20 on"),
    click.option(
        "--train-on",
        type=TRAIN_ON,
        help="Tokens to train: every assistant turn (default), the last, assistant turns without context, or all "
        "tokens.",
    ),
    click.option(
        "--too-long",
        type=TOO_LONG,
        help="Conversations longer than the context: stop (default), split between turns, or drop.",
    ),
    replay_option("0.5 if the training text is known, else 0"),
    click.option(
        "--batch-tokens",
        type=click.IntRange(min=1),
        metavar="TOKENS",
        help="Maximum tokens per optimizer step, with replayed text; default: 8192 of conversations, fewer for few "
        "rows.",
    ),
    BATCH_ROWS,
    click.option(
        "--epochs",
        type=click.IntRange(min=1),
        metavar="EPOCHS",
        help="Epochs; default: 3, on a base more for few rows.",
    ),
)


@click.command(short_help="Fine-tune a model on a file of conversations.")
@with_options(FIRST, OWN, SHARED)
@command
def sft(as_json: bool, **given: Any) -> Any:
    """Fine-tune a model on a file of conversations. The defaults are safe: only the assistant's text and turn ends are
    trained, and nothing is truncated or dropped silently. Any other setting of the recipe can be set by its dotted
    name, such as stages.sft.schedule.kind=cosine.

    tutelage sft --model Qwen/Qwen3-0.6B --data chats.jsonl --out tuned
    """
    return fine_tune("sft", OPTIONS, given, as_json)
