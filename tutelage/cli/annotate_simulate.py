"""The `annotate simulate` command: annotators whose utility is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tutelage.cli.annotate_options import summary_of
from tutelage.cli.command import command
from tutelage.cli.options import FILE, RECIPE, SHARE


@click.command(short_help="Let simulated people rank and write.")
@RECIPE
@click.option("--task", type=click.Choice(["rank", "write"]), default="rank", show_default=True, help="What they do.")
@click.option("--out", required=True, type=FILE, metavar="LOG.jsonl", help="The log, a new one.")
@click.option("--rows", type=click.IntRange(1), metavar="N", help="How many prompts; default: those of the recipe.")
@click.option("--people", type=click.IntRange(1), default=3, show_default=True, help="How many annotators.")
@click.option("--overlap", type=click.IntRange(1), default=1, show_default=True, help="How many people get each item.")
@click.option("--repeat", type=SHARE, default=0.0, show_default=True, help="Share of items that a person gets twice.")
@click.option("--careless", type=SHARE, default=0.0, show_default=True, help="Share of random ranks of one of them.")
@command
def simulate(recipe: Path, task: Any, out: Path, rows: int | None, as_json: bool, **options: Any) -> Any:
    """Let simulated people annotate answers about the built-in world of a recipe. Their utility is that of its data of
    kind "world-preferences": its flaw, noise (temperature), ties and number of answers. For planning, and for tests."""
    from functools import partial

    import msgspec

    from tutelage.annotate import simulate as simulated
    from tutelage.annotate.events import LogSettings
    from tutelage.recipe import load_recipe
    from tutelage.stages.data_world import known_utility

    known = known_utility((), load_recipe(recipe).data)
    if known is None:
        raise ValueError(f"{recipe} has no [data] of kind 'world-preferences', whose labeller is simulated; add one")
    wanted = known.settings if rows is None else msgspec.structs.replace(known.settings, rows=rows)
    people = [*simulated.team(options["people"], wanted.temperature, wanted.ties, options["careless"])]
    settings = LogSettings(task=task, overlap=options["overlap"], repeat=options["repeat"])
    run = partial(simulated.simulate, out, settings)
    if task == "write":
        items, write = simulated.world_prompts(known.world, wanted.rows)
        state = run(items, people, lambda item, text: 0.0, written=write)
    else:
        items, utility = simulated.world_items(known.world, wanted)
        state = run(items, people, utility)
    found = summary_of(state)
    if not as_json:
        click.echo(
            f"{found['submissions']:,} submissions of {found['people']} people on {found['items']:,} items: {out}"
        )
    return {**found, "log": out}
