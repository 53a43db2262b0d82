"""The `arena` command: ratings of models from battles of two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tutelage.cli.command import command, new_console
from tutelage.cli.options import FILE


@click.command(short_help="Rate models by battles of two.")
@click.argument("battles", type=FILE, metavar="BATTLES")
@click.option(
    "--ties",
    type=click.Choice(["half", "davidson"]),
    default="half",
    show_default=True,
    help="A tie is half a win for each, or has a probability of its own.",
)
@click.option("--style", is_flag=True, help="Control for length, headings, lists and bold of the answers.")
@click.option("--first-seat", is_flag=True, help="Estimate the advantage of being shown first, and control for it.")
@click.option("--anchor", metavar="MODEL", help="This model has the rating 1000; default: the mean has.")
@click.option(
    "--resamples", type=click.IntRange(min=20), default=200, show_default=True, help="Resamples for the intervals."
)
@click.option("--seed", default=0, show_default=True, help="Seed of the resamples.")
@command
def arena(
    battles: Path,
    ties: Any,
    style: bool,
    first_seat: bool,
    anchor: str | None,
    resamples: int,
    seed: int,
    as_json: bool,
) -> Any:
    """Rate models by battles of two, or by rankings (docs/evaluation.md), with Bradley-Terry.

    The 95% intervals come from a bootstrap over prompts. The last column shows how far online Elo depends on the order
    of the battles.
    """
    from tutelage.evaluate.arena import arena as rate
    from tutelage.evaluate.arena import read_battles, warnings
    from tutelage.ledger import Ledger
    from tutelage.report.arena import arena_table

    ledger = Ledger("battles")
    result = rate(read_battles(battles, ledger), ties, style, first_seat, anchor, resamples, seed)
    if not as_json:
        console = new_console()
        if ledger.dropped:
            console.print(ledger.table())
        console.print(arena_table(result))
        for name, value in result.get("style", {}).items():
            console.print(f"{name}: {value:+.3f} for one standard deviation more of it", highlight=False)
        if first_seat:
            console.print(f"first seat: {result['first_seat']:+.3f} on the log scale", highlight=False)
        for warning in warnings(result):
            console.print(f"note: {warning}", highlight=False)
    return {**result, "ledger": ledger.to_dict(), "warnings": warnings(result)}
