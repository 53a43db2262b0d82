"""The `annotate simulate` command: annotators whose utility is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tutelage.cli.annotate_options import summary_of
from tutelage.cli.command import command
from tutelage.cli.options import FILE, MODEL, SHARE


@click.command(short_help="Let simulated people rank and write.")
@click.argument("source", type=FILE, metavar="RECIPE.toml|ANSWERS.jsonl")
@click.option("--task", type=click.Choice(["rank", "write"]), default="rank", show_default=True, help="What they do.")
@click.option("--out", required=True, type=FILE, metavar="LOG.jsonl", help="The log, a new one.")
@click.option("--reward", metavar=MODEL, help="A reward model: what they think of the answers of ANSWERS.jsonl.")
@click.option("--noise", type=click.FloatRange(0, min_open=True), help="Temperature; default: the recipe's, else 1.")
@click.option("--rows", type=click.IntRange(1), metavar="N", help="How many prompts; default: those of the recipe.")
@click.option("--people", type=click.IntRange(1), default=3, show_default=True, help="How many annotators.")
@click.option("--overlap", type=click.IntRange(1), default=1, show_default=True, help="How many people get each item.")
@click.option("--repeat", type=SHARE, default=0.0, show_default=True, help="Share of items that a person gets twice.")
@click.option("--careless", type=SHARE, default=0.0, show_default=True, help="Share of random ranks of one of them.")
@command
def simulate(source: Path, task: Any, out: Path, as_json: bool, **options: Any) -> Any:
    """Let simulated people annotate, for planning and for tests. With a recipe they judge answers about its built-in
    world; their utility is that of its data of kind "world-preferences": its flaw, noise (temperature), ties and number
    of answers. With a file of answers it is the score of a reward model. Noise is added to it."""
    from tutelage.annotate.events import LogSettings
    from tutelage.annotate.simulate import simulate as run
    from tutelage.annotate.simulate import team, world_items, world_prompts

    settings = LogSettings(task=task, overlap=options["overlap"], repeat=options["repeat"])
    count, careless = options["people"], options["careless"]
    if source.suffix != ".toml":
        if options["reward"] is None or task == "write":
            raise ValueError("with a file of answers give --reward MODEL, and --task rank; or give a recipe of a world")
        items, utility = _scored(source, options["reward"])
        state = run(out, settings, items, [*team(count, options["noise"] or 1.0, 0.0, careless)], utility)
    else:
        known = _labeller(source, options["rows"])
        temperature = options["noise"] or known.settings.temperature
        people = [*team(count, temperature, known.settings.ties, careless)]
        if task == "write":
            items, write = world_prompts(known.world, known.settings.rows)
            state = run(out, settings, items, people, lambda item, text: 0.0, written=write)
        else:
            items, utility = world_items(known.world, known.settings)
            state = run(out, settings, items, people, utility)
    found = summary_of(state)
    if not as_json:
        click.echo(
            f"{found['submissions']:,} submissions of {found['people']} people on {found['items']:,} items: {out}"
        )
    return {**found, "log": out}


def _labeller(recipe: Path, rows: int | None) -> Any:
    """The labeller of the world of a recipe, asked for so many rows."""
    import msgspec

    from tutelage.recipe import load_recipe
    from tutelage.stages.data_world import known_utility
    from tutelage.world.preferences import KnownUtility

    known = known_utility((), load_recipe(recipe).data)
    if known is None:
        raise ValueError(f"{recipe} has no [data] of kind 'world-preferences', whose labeller is simulated; add one")
    return known if rows is None else KnownUtility(known.world, msgspec.structs.replace(known.settings, rows=rows))


def _scored(answers: Path, reward: str) -> Any:
    """The items of a file, and their utility by a reward model."""
    from tutelage.annotate.items import read_answer_items
    from tutelage.annotate.simulate import scored_utility
    from tutelage.find_model import find_model
    from tutelage.ledger import Ledger
    from tutelage.rl.model_scores import RewardModel

    items = read_answer_items(answers, Ledger("items"))
    return items, scored_utility(items, RewardModel(find_model(reward)).score)
