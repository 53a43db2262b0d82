"""What the commands that fine-tune a model without a recipe file share: options, and how they run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import click

from tutelage.cli.finish import exit_if_forgetting, finish
from tutelage.cli.options import FILE, MODEL, OUT, SHARE, TRACK, F, data_option, held_out_option, replay_option
from tutelage.cli.training_audit import audit_before_training, audit_if_refused

if TYPE_CHECKING:
    from pathlib import Path

    from tutelage.recipe import Recipe
    from tutelage.sft_recipe import Kind


# What each option sets of the stage; --max-broken is of the data.
OPTIONS = {
    "lr": "lr",
    "warmup": "schedule.warmup",
    "find_lr": "find_lr",
    "batch_tokens": "batch_tokens",
    "batch_rows": "batch_rows",
    "lora": "lora.rank",
    "lora_alpha": "lora.alpha",
    "lora_dropout": "lora.dropout",
    "epochs": "epochs",
    "max_forgetting": "max_forgetting",
    "system": "system",
    "precision": "precision",
    "eval_minutes": "eval_minutes",
    "seed": "seed",
    "max_refused": "max_refused",
}

FIRST = (
    click.option(
        "--model", required=True, metavar=MODEL, help="The model to start from: a folder, or a name on the hub."
    ),
)
REFUSALS = (
    click.option(
        "--max-refused",
        type=SHARE,
        metavar="SHARE",
        help="Maximum share of rows to skip when verification fails (default 0).",
    ),
)
TRAINING = (
    click.option(
        "--max-broken",
        type=SHARE,
        metavar="SHARE",
        help="Maximum share of rows to skip when they cannot be read (default 0).",
    ),
    click.option(
        "--lr",
        type=click.FloatRange(0, min_open=True),
        metavar="LR",
        help="Peak learning rate; default: derived from that of pre-training if known, else from the model size.",
    ),
    click.option(
        "--warmup",
        type=click.FloatRange(0, 0.7),
        metavar="SHARE",
        help="Share of the steps that warm up the learning rate, at most 0.7 (default 0.02).",
    ),
    click.option("--find-lr", is_flag=True, help="Find the learning rate by a range test."),
    click.option(
        "--lora",
        type=click.IntRange(min=1),
        metavar="RANK",
        help="Train a LoRA adapter of this rank instead of all weights; a common value is 16.",
    ),
    click.option(
        "--max-forgetting",
        type=click.FloatRange(0),
        metavar="SHARE",
        help="Exit with status 3 if the lower 95% bound of forgetting exceeds this, such as 0.1.",
    ),
    click.option(
        "--template-setting",
        multiple=True,
        metavar="NAME=VALUE",
        help="A variable of the chat template, such as enable_thinking=false; repeatable.",
    ),
    click.option(
        "--system",
        type=click.Choice(("keep", "fold")),
        help="A system message that the chat template does not take: refused (keep, default), or put before the first "
        "question (fold).",
    ),
    click.option(
        "--precision",
        type=click.Choice(("float32", "bfloat16")),
        help="Dtype of matrix products; default: the faster one, and float32 below 20 million parameters.",
    ),
    click.option(
        "--eval-minutes",
        type=click.FloatRange(0, min_open=True),
        metavar="MINUTES",
        help="How long the answers of the evaluation after training may take; default: a quarter of the training time.",
    ),
    click.option("--no-eval", is_flag=True, help="Train only; no evaluation during or after training."),
    TRACK,
    click.option("--seed", type=int, help="Random seed (default 0)."),
    click.option(
        "--eval",
        type=FILE,
        metavar="FILE",
        help="Questions with answers, to score the model on before and after training (docs/evaluation.md).",
    ),
    click.option(
        "--write-recipe",
        type=FILE,
        metavar="FILE",
        help="Write what would be run as a recipe for `tutelage run`, and train nothing.",
    ),
    click.option(
        "--lora-dropout",
        type=click.FloatRange(0, 1, max_open=True),
        metavar="SHARE",
        help="LoRA's dropout (default 0).",
    ),
    click.option(
        "--lora-alpha", type=click.FloatRange(0, min_open=True), metavar="ALPHA", help="LoRA's alpha (default 32)."
    ),
    click.argument("settings", nargs=-1, metavar="[dotted.key=value ...]"),
)
BATCH_ROWS = click.option(
    "--batch-rows",
    type=click.IntRange(min=1),
    metavar="ROWS",
    help="Rows per optimizer step, in place of --batch-tokens.",
)
SHARED = (*REFUSALS, *TRAINING)
# Options of `sft` whose help differs for preferences.
PREFERENCES = (
    data_option("preferences"),
    OUT,
    held_out_option("preferences"),
    replay_option(),
    click.option(
        "--batch-tokens",
        type=click.IntRange(min=1),
        metavar="TOKENS",
        help="Maximum tokens per optimizer step, both answers of a pair counted; default: 8192, fewer for few rows.",
    ),
    BATCH_ROWS,
    click.option(
        "--epochs", type=click.IntRange(min=1), metavar="EPOCHS", help="Epochs; default: 1, 3 for few rows (reward: 1)."
    ),
)


def with_options(*groups: Sequence[Callable[[F], F]]) -> Callable[[F], F]:
    """Adds options to a command, in this order."""

    def add(function: F) -> F:
        for option in reversed([option for group in groups for option in group]):
            function = option(function)
        return function

    return add


# Options that are not settings.
ARGUMENTS = ("model", "out", "held_out", "replay", "template_setting", "no_eval", "settings")


def fine_tune(
    kind: Kind, own: Mapping[str, str], given: Mapping[str, Any], as_json: bool, more: Sequence[str] = ()
) -> Any:
    """Train one stage of `kind` and write its report; returns the summary.

    own:   what the command's own options set: of the stage, or by a dotted name of the recipe.
    given: all options of the command.
    more:  further settings, as dotted.key=value.

    Raises:
        ValueError: an option is wrong, or the model or the data cannot be read.
    """
    from tutelage.find_model import publish
    from tutelage.io.hub import find_data_set
    from tutelage.rl_recipe import rl_recipe
    from tutelage.runner import Run
    from tutelage.sft_recipe import SAMPLES, data_names, parse_data, parse_replay, sft_recipe

    model, out, held_out, replay, template_setting, no_eval, settings = (given[name] for name in ARGUMENTS)
    files = {find_data_set(path): share for path, share in map(parse_data, given["data"])}
    held_out = held_out and find_data_set(held_out)
    if out is None and given["write_recipe"] is None:
        raise ValueError("name the folder of the run: --out DIR (or --write-recipe FILE, to train nothing)")
    sets = {
        name: setting if setting.startswith("data.") else f"stages.{kind}.{setting}"
        for name, setting in {**OPTIONS, **own}.items()
    }
    found = {name: value for name, value in given.items() if value is not None and value is not False}
    values = {setting: found[name] for name, setting in sets.items() if name in found}
    if "max_broken" in found:
        values |= {f"data.{name}.max_broken": found["max_broken"] for name in data_names(kind, len(files))}
    replay_file = None
    if replay is not None:
        replay_file, values[f"stages.{kind}.replay"] = parse_replay(replay)
    for name in sorted({setting.partition("=")[0].strip() for setting in settings} & values.keys()):
        option = next((option for option, setting in sets.items() if setting == name), "replay").replace("_", "-")
        raise ValueError(f"--{option} and {name} set the same value; give one of the two")
    skipped = (f"evaluate.{kind}=[]", f"stages.{kind}.evaluate_every=0") if no_eval else ()
    templates = (f"stages.{kind}.template_settings.{setting}" for setting in template_setting)
    overrides = [f"{name}={str(value).lower() if value is True else value}" for name, value in values.items()]
    overrides += [*skipped, *templates, *more, *settings]
    make = rl_recipe if kind in SAMPLES else sft_recipe
    with audit_if_refused(list(files), model, as_json) if kind == "sft" else nullcontext():
        recipe = make(
            model,
            files,
            held_out=held_out,
            replay_file=replay_file,
            eval_file=given["eval"],
            overrides=overrides,
            kind=kind,
        )
        if given["write_recipe"] is not None:
            return _write(recipe, given["write_recipe"], as_json)
        if kind == "sft":
            for path in files:
                audit_before_training(path, held_out, given["max_broken"] or 0.0, as_json)
        run = Run(recipe, out, "--out DIR", given["track"])
        summary = finish(run, None, as_json)
    publish(run)
    if not as_json and kind != "reward":
        click.echo(f"chat with it: tutelage chat {out}")
    exit_if_forgetting(run, summary, as_json)
    return summary


def _write(recipe: Recipe, path: Path, as_json: bool) -> Any:
    """Write a recipe as TOML; returns it as plain data."""
    from tutelage.config import to_plain, to_toml
    from tutelage.files import write_text

    table = to_plain(recipe)
    write_text(path, to_toml(table))
    if not as_json:
        click.echo(f"recipe: {path}; to run it: tutelage run {path} out=DIR")
    return table
