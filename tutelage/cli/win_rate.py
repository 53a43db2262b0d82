"""The `win-rate` command: a model against a baseline, from a judge's preferences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tutelage.cli.command import command
from tutelage.cli.options import FILE


@click.command(name="win-rate", short_help="Win rate from a judge's preferences, raw and at equal length.")
@click.argument("preferences", type=FILE, metavar="FILE")
@click.option("--weights", type=FILE, metavar="CSV", help="AlpacaEval's published weights, to reproduce its figure.")
@click.option("--model", metavar="NAME", help="With --weights: the model of the rows.")
@click.option(
    "--known",
    nargs=2,
    metavar="FILE NAME",
    help="With --weights: rows with 'glm_preference', and the model they are of; they tell how hard each prompt is.",
)
@click.option("--by-number", is_flag=True, help="With --known: pair rows by number, as AlpacaEval's own code does.")
@command
def win_rate(
    preferences: Path,
    weights: Path | None,
    model: str | None,
    known: tuple[str, str] | None,
    by_number: bool,
    as_json: bool,
) -> Any:
    """The win rate of a model over a baseline from rows with a 'preference' from 1 (the baseline) to 2 (the model), as
    AlpacaEval writes them: raw with its interval, and at equal length (arXiv 2404.04475)."""
    from tutelage.evaluate.preference_rows import (
        published_rate,
        read_preference_rows,
        win_rate_figures,
        win_rate_lines,
    )

    if len({weights is None, model is None, known is None}) > 1:
        raise ValueError("--weights, --model and --known go together; give all three, or none")
    if by_number and known is None:
        raise ValueError("--by-number pairs rows with those of --known; add it, or leave it out")
    rows = read_preference_rows(preferences)
    found = win_rate_figures(rows)
    if weights is not None and model is not None and known is not None:
        of_known = read_preference_rows(Path(known[0]))
        found["published"] = published_rate(rows, weights, model, of_known, known[1], by_number)
    if not as_json:
        for line in win_rate_lines(found):
            click.echo(line)
    return found
