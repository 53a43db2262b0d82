"""The `sft` command: fine-tunes a model without a recipe file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tutelage.cli.audit import audit_before_training
from tutelage.cli.command import command
from tutelage.cli.finish import exit_if_forgetting, finish
from tutelage.cli.options import FILE, FOLDER, MODEL, SHARE, TOO_LONG, TRAIN_ON

# What each option sets in the recipe.
OPTIONS = {
    "train_on": "stages.sft.train_on",
    "max_refused": "stages.sft.max_refused",
    "max_broken": "data.chat.max_broken",
    "too_long": "stages.sft.too_long",
    "lr": "stages.sft.lr",
    "warmup": "stages.sft.schedule.warmup",
    "find_lr": "stages.sft.find_lr",
    "batch_tokens": "stages.sft.batch_tokens",
    "lora": "stages.sft.lora.rank",
    "epochs": "stages.sft.epochs",
    "max_forgetting": "stages.sft.max_forgetting",
    "system": "stages.sft.system",
    "precision": "stages.sft.precision",
    "eval_minutes": "stages.sft.eval_minutes",
    "seed": "stages.sft.seed",
}


@click.command(short_help="Fine-tune a model on a file of conversations.")
@click.option("--model", required=True, metavar=MODEL, help="The model to start from: a folder, or a name on the hub.")
@click.option("--data", required=True, type=FILE, metavar="FILE", help="Conversations: JSON (lines), Parquet or CSV.")
@click.option("--out", required=True, type=FOLDER, metavar="DIR", help="Folder of the run.")
@click.option(
    "--held-out",
    type=FILE,
    metavar="FILE",
    help="Held-out conversations for evaluation, never trained on; default: 5% of --data if it has 100 or more.",
)
@click.option(
    "--train-on",
    type=TRAIN_ON,
    help="Tokens to train: every assistant turn (default), the last, assistant turns without context, or all tokens.",
)
@click.option(
    "--max-refused",
    type=SHARE,
    metavar="SHARE",
    help="Maximum share of conversations to skip when verification fails (default 0).",
)
@click.option(
    "--max-broken",
    type=SHARE,
    metavar="SHARE",
    help="Maximum share of rows to skip when they cannot be read (default 0).",
)
@click.option(
    "--too-long",
    type=TOO_LONG,
    help="Conversations longer than the context: stop (default), split between turns, or drop.",
)
@click.option(
    "--replay",
    metavar="[FILE=]SHARE",
    help="Against forgetting: share of the trained tokens that comes from the model's training text, or from FILE; "
    "default: 0.5 if the training text is known, else 0.",
)
@click.option(
    "--lr",
    type=click.FloatRange(0, min_open=True),
    metavar="LR",
    help="Peak learning rate; default: derived from that of pre-training if known, else from the model size.",
)
@click.option(
    "--warmup",
    type=click.FloatRange(0, 0.7),
    metavar="SHARE",
    help="Share of the steps that warm up the learning rate, at most 0.7 (default 0.02).",
)
@click.option("--find-lr", is_flag=True, help="Find the learning rate by a range test.")
@click.option(
    "--batch-tokens",
    type=click.IntRange(min=1),
    metavar="TOKENS",
    help="Maximum tokens per optimizer step, with replayed text; default: 8192 of conversations, fewer for few rows.",
)
@click.option(
    "--lora",
    type=click.IntRange(min=1),
    metavar="RANK",
    help="Train a LoRA adapter of this rank instead of all weights; a common value is 16.",
)
@click.option("--epochs", type=click.IntRange(min=1), metavar="EPOCHS", help="Epochs; default: 3, more for few rows.")
@click.option(
    "--max-forgetting",
    type=click.FloatRange(0),
    metavar="SHARE",
    help="Exit with status 3 if the lower 95% bound of forgetting exceeds this, such as 0.1.",
)
@click.option(
    "--template-setting",
    multiple=True,
    metavar="NAME=VALUE",
    help="A variable of the chat template, such as enable_thinking=false; repeatable.",
)
@click.option(
    "--system",
    type=click.Choice(("keep", "fold")),
    help="A system message that the chat template does not take: refused (keep, default), or put before the first "
    "question (fold).",
)
@click.option(
    "--precision",
    type=click.Choice(("float32", "bfloat16")),
    help="Dtype of matrix products; default: the faster one, and float32 below 20 million parameters.",
)
@click.option(
    "--eval-minutes",
    type=click.FloatRange(0, min_open=True),
    metavar="MINUTES",
    help="How long the answers of the evaluation after training may take; default: a quarter of the training time.",
)
@click.option("--no-eval", is_flag=True, help="Train only; no evaluation during or after training.")
@click.option("--seed", type=int, help="Random seed (default 0).")
@click.argument("settings", nargs=-1, metavar="[dotted.key=value ...]")
@command
def sft(
    model: str,
    data: Path,
    out: Path,
    held_out: Path | None,
    replay: str | None,
    template_setting: tuple[str, ...],
    no_eval: bool,
    settings: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> Any:
    """Fine-tune a model on a file of conversations. The defaults are safe: only the assistant's text and turn ends are
    trained, and nothing is truncated or dropped silently. Any other setting of the recipe can be set by its dotted
    name, such as stages.sft.schedule.kind=cosine.

    tutelage sft --model Qwen/Qwen3-0.6B --data chats.jsonl --out tuned
    """
    from tutelage.find_model import publish
    from tutelage.io.hub import find_data_set
    from tutelage.runner import Run
    from tutelage.sft_recipe import parse_replay, sft_recipe

    data, held_out = find_data_set(data), held_out and find_data_set(held_out)
    given = {OPTIONS[name]: value for name, value in options.items() if value is not None and value is not False}
    replay_file = None
    if replay is not None:
        replay_file, given["stages.sft.replay"] = parse_replay(replay)
    for name in sorted({setting.partition("=")[0].strip() for setting in settings} & given.keys()):
        option = next((option for option, setting in OPTIONS.items() if setting == name), "replay").replace("_", "-")
        raise ValueError(f"--{option} and {name} set the same value; give one of the two")
    skipped = ("evaluate.sft=[]", "stages.sft.evaluate_every=0") if no_eval else ()
    settings = (*skipped, *(f"stages.sft.template_settings.{setting}" for setting in template_setting), *settings)
    overrides = [f"{name}={str(value).lower() if value is True else value}" for name, value in given.items()]
    recipe = sft_recipe(model, data, held_out=held_out, replay_file=replay_file, overrides=[*overrides, *settings])
    audit_before_training(data, held_out, options["max_broken"] or 0.0, as_json)
    run = Run(recipe, out, "--out DIR")
    summary = finish(run, None, as_json)
    publish(run)
    if not as_json:
        click.echo(f"chat with it: tutelage chat {out}")
    exit_if_forgetting(run, summary, as_json)
    return summary
