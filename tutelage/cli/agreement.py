"""The `agreement` command: how far several people, or judges, agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tutelage.cli.command import command
from tutelage.cli.options import FILE


@click.command(short_help="Measure how far people, or judges, agree.")
@click.argument("codings", type=FILE, metavar="FILE")
@click.option(
    "--level",
    type=click.Choice(["nominal", "ordinal", "interval", "ratio"]),
    default="nominal",
    show_default=True,
    help="What the values mean: categories, ranks, or numbers.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of the resamples.")
@command
def agreement(codings: Path, level: Any, seed: int, as_json: bool) -> Any:
    """Measure how far several people, or judges, agree: Krippendorff's alpha with its interval, Fleiss' kappa, and
    Cohen's kappa of each two.

    A row is an item with a column for each coder, or one coding: {"item", "coder", "value"}.
    """
    from tutelage.evaluate.codings import agreement_figures, agreement_lines, read_codings

    found = agreement_figures(read_codings(codings), level, seed)
    if not as_json:
        for line in agreement_lines(found):
            click.echo(line)
    return found
