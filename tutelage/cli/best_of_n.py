"""The `best-of-n` command: writes the best of several sampled answers as rows for fine-tuning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tutelage.cli.command import command
from tutelage.cli.fine_tune import FIRST, with_options
from tutelage.cli.options import FILE, FOLDER
from tutelage.cli.rollout_options import REWARDS, ROLLOUT_OPTIONS, SAMPLING, reward_settings

# What its options set of the stage; a dotted name is of the recipe.
OPTIONS = {name: ROLLOUT_OPTIONS[name] for name in ("gold_after", "max_tokens", "temperature")}
OPTIONS |= {"samples": "samples", "keep": "keep", "min_reward": "min_reward", "seed": "seed"}
OWN = (
    click.option(
        "--data", required=True, type=FILE, metavar="FILE", help="Prompts with answers: JSON (lines), Parquet or CSV."
    ),
    click.option("--out", required=True, type=FOLDER, metavar="DIR", help="Folder of the run."),
    click.option(
        "--samples", type=click.IntRange(min=1), metavar="SAMPLES", help="Answers to each prompt (default 8)."
    ),
    click.option(
        "--keep", type=click.IntRange(min=1), metavar="ANSWERS", help="How many of them become rows (default 1)."
    ),
    click.option("--min-reward", type=float, metavar="REWARD", help="Leave out answers with a lower reward."),
)


@click.command("best-of-n", short_help="Write the best of several sampled answers as rows for SFT.")
@with_options(FIRST, OWN, REWARDS, SAMPLING)
@click.option("--seed", type=int, help="Random seed (default 0).")
@click.argument("settings", nargs=-1, metavar="[dotted.key=value ...]")
@command
def best_of_n(as_json: bool, **given: Any) -> Any:
    """Sample answers to each prompt and write those with the highest reward as conversations (rejection sampling).

    tutelage best-of-n --model tuned --data gsm8k.jsonl --reward numeric --gold-after "####" --min-reward 1 --out best
    """
    from tutelage.io.hub import find_data_set
    from tutelage.rl_recipe import best_of_n_recipe
    from tutelage.runner import Run
    from tutelage.stages.base import MADE

    out: Path = given["out"]
    overrides = [
        f"{name if name.startswith('data.') else f'stages.best_of_n.{name}'}={given[option]}"
        for option, name in OPTIONS.items()
        if given[option] is not None
    ]
    overrides += [*reward_settings("best_of_n", given), *given["settings"]]
    run = Run(best_of_n_recipe(given["model"], find_data_set(given["data"]), overrides), out, "--out DIR")
    summary = run.run()
    if not as_json:
        rows, prompts = (summary[f"stages.best_of_n.{name}"] for name in ("rows", "ledgers.rows.rows_read"))
        click.echo(f"{rows:,} rows of {prompts:,} prompts: {out / 'best_of_n' / MADE}")
        figures = [summary[f"stages.best_of_n.{name}"] for name in ("reward_sampled", "reward_kept")]
        click.echo(f"mean reward of all samples {figures[0]:.3f}, of those kept {figures[1]:.3f}")
        click.echo(
            f"fine-tune on them: tutelage sft --model {given['model']} --data {out / 'best_of_n' / MADE} --out DIR"
        )
    return summary
