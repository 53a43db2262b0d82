"""The `select` command: keeps a few rows of many."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tutelage.cli.command import command, new_console
from tutelage.cli.options import FILE, MODEL

NAMES = ("deita", "dedup", "difficulty", "diversity", "judged", "lima", "limo", "longest", "s1", "success")


@click.command(short_help="Keep a few conversations of many: difficulty, diversity, quality.")
@click.argument("data", type=FILE, metavar="FILE")
@click.option("--by", type=click.Choice(NAMES), required=True, help="What decides; see docs/synthesis.md.")
@click.option("--keep", type=click.IntRange(min=1), required=True, metavar="ROWS", help="How many rows, at most.")
@click.option("--out", type=FILE, required=True, metavar="FILE.jsonl", help="The rows that are kept.")
@click.option("--model", metavar=MODEL, help="For losses, embeddings and success rates.")
@click.option("--judge", metavar="URL|DIR", help="For scores: an endpoint, or the folder of a model.")
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed.")
@command
def select(
    data: Path, by: str, keep: int, out: Path, model: str | None, judge: str | None, seed: int, as_json: bool
) -> Any:
    """Keep the best rows of a file of conversations, in its order. FILE.jsonl.ledger.json says why each other row is
    dropped."""
    from tutelage.find_model import find_model
    from tutelage.io.hub import find_data_set
    from tutelage.ledger import Ledger
    from tutelage.synth.select import select_rows

    folder = find_model(model) if model else None
    account = select_rows(find_data_set(data), out, by, keep, folder, judge, seed)
    if not as_json:
        new_console().print(Ledger.from_dict(account["selection"]).table())
        click.echo(f"kept rows: {out}")
    return account
