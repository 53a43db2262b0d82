"""The sft verb: fine-tuning without a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tutelage.cli.command import verb
from tutelage.cli.finishing import end_at_the_gate, finish
from tutelage.cli.options import FILE, FOLDER, MODEL, SHARE, TOO_LONG, TRAIN_ON


@click.command(short_help="Fine-tune a model on a file of conversations.")
@click.option("--model", required=True, metavar=MODEL, help="The model to start from: a folder, or a name on the hub.")
@click.option("--data", required=True, type=FILE, metavar="FILE", help="Conversations: JSON lines, JSON or Parquet.")
@click.option("--out", required=True, type=FOLDER, metavar="DIR", help="Where the run is written.")
@click.option(
    "--held-out",
    type=FILE,
    metavar="FILE",
    help="Conversations to measure on, never trained on; 5% of --data, where that has 100 or more.",
)
@click.option(
    "--train-on",
    type=TRAIN_ON,
    default="assistant",
    show_default=True,
    help="Which tokens are trained: all answers, the last one, answers without their questions, or every token.",
)
@click.option(
    "--max-refused",
    type=SHARE,
    default=0.0,
    metavar="SHARE",
    help="Leave out conversations that the model's template cannot be proven on, up to this share of all; 0.",
)
@click.option(
    "--max-broken",
    type=SHARE,
    default=0.0,
    metavar="SHARE",
    help="Leave out rows that cannot be read, up to this share of all; 0.",
)
@click.option(
    "--too-long",
    type=TOO_LONG,
    default="error",
    show_default=True,
    help="A conversation longer than the model reads at once: stop, cut it between turns, or leave it out.",
)
@click.option(
    "--replay",
    metavar="[FILE=]SHARE",
    help="Against forgetting: share of what is learned that is text the model was trained on, or text of FILE; 0.5 "
    "where that text is known, else 0.",
)
@click.option(
    "--lr",
    type=click.FloatRange(0, min_open=True),
    metavar="RATE",
    help="Peak learning rate; by the model's own where that is known, else by its size.",
)
@click.option(
    "--warmup",
    type=click.FloatRange(0, 0.7),
    default=0.02,
    show_default=True,
    metavar="SHARE",
    help="Share of the steps over which the rate rises to its peak, at most 0.7.",
)
@click.option("--find-lr", is_flag=True, help="Find the learning rate by trying some for a few steps each.")
@click.option(
    "--batch-tokens",
    type=click.IntRange(min=1),
    metavar="TOKENS",
    help="Tokens that a step reads, at most, replayed text included; 8192 of conversations, fewer of few rows.",
)
@click.option(
    "--lora",
    type=click.IntRange(min=1),
    metavar="RANK",
    help="Train small matrices of this rank beside the weights (LoRA), not the weights; 16 is usual.",
)
@click.option(
    "--epochs", type=click.IntRange(min=1), metavar="PASSES", help="Passes over the data; 3, more where rows are few."
)
@click.option(
    "--max-forgetting",
    type=click.FloatRange(0),
    metavar="SHARE",
    help="End with exit status 3 where the loss on other text has surely risen by more than this, as 0.1.",
)
@click.option("--seed", default=0, show_default=True, help="Sets what chance decides, such as the order of the rows.")
@verb
def sft(
    model: str,
    data: Path,
    out: Path,
    held_out: Path | None,
    train_on: Any,
    max_refused: float,
    max_broken: float,
    too_long: Any,
    replay: str | None,
    lr: float | None,
    warmup: float,
    find_lr: bool,
    batch_tokens: int | None,
    lora: int | None,
    epochs: int | None,
    max_forgetting: float | None,
    seed: int,
    as_json: bool,
) -> Any:
    """Fine-tune a model on a file of conversations. Every default is the safe one: only the assistant's words and ends
    are learned, and nothing is cut or left out in silence.

    tutelage sft --model Qwen/Qwen3-0.6B --data chats.jsonl --out tuned
    """
    from tutelage.cli.auditing import audit_before_training
    from tutelage.finetune import finetune_recipe, publish, replay_of
    from tutelage.recipe import Run

    replay_file, share = (None, None) if replay is None else replay_of(replay)
    recipe = finetune_recipe(
        model,
        data,
        held_out=held_out,
        train_on=train_on,
        max_refused=max_refused,
        max_broken=max_broken,
        too_long=too_long,
        replay=share,
        replay_file=replay_file,
        max_forgetting=max_forgetting,
        lr=lr,
        warmup=warmup,
        find_lr=find_lr,
        batch_tokens=batch_tokens,
        lora=lora,
        epochs=epochs,
        seed=seed,
    )
    audit_before_training(data, held_out, max_broken, as_json)
    run = Run(recipe, out, "--out DIR")
    summary = finish(run, None, as_json)
    publish(run)
    if not as_json:
        click.echo(f"chat with it: tutelage chat {out}")
    end_at_the_gate(run, summary, as_json)
    return summary
