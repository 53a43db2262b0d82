"""The `mix` command: mixes rows of several sources by shares."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tutelage.cli.command import command, new_console
from tutelage.cli.options import RECIPE, SETTINGS, split_out

if TYPE_CHECKING:
    from rich.console import Console


@click.command(short_help="Mix conversations, preferences or documents of several sources by shares.")
@RECIPE
@SETTINGS
@command
def mix(recipe: Path, settings: tuple[str, ...], as_json: bool) -> Any:
    """Mix rows of several sources by shares, with caps and epochs, shuffled, without evaluation texts. Writes
    DIR/data.jsonl and DIR/mixture.json.

    Sources without a file are left out, and named: tutelage mix recipes/mixtures/tulu3.toml
    sources.no_robots.path=no_robots.jsonl ...
    """
    from tutelage.synth.mixture import load_mixture, mix_rows

    overrides, out = split_out(settings)
    loaded = load_mixture(recipe, overrides)
    target = out or Path("data") / loaded.name
    result = mix_rows(loaded, target)
    if not as_json:
        _print(result, new_console())
        click.echo(f"{result['rows']:,} rows: {target / 'data.jsonl'}")
    return result


def _print(result: dict[str, Any], console: Console) -> None:
    """Print the sources with their rows, share and epochs, and those that are not at hand."""
    from rich.table import Table

    table = Table(title=result["name"], title_justify="left")
    for heading in ("source", "rows", "share", "target", "epochs"):
        table.add_column(heading, justify="left" if heading == "source" else "right")
    for name, row in result["sources"].items():
        shares = (f"{row['share']:.1%}", f"{row['target_share']:.1%}")
        table.add_row(name, f"{row['rows']:,}", *shares, f"{row['epochs']:.2f}")
    console.print(table)
    if result["absent"]:
        console.print(f"not at hand, {result['absent_share']:.0%} of the published mixture:")
        for name, source in result["absent"].items():
            console.print(f"  {name}: {source['licence'] or 'licence unknown'}, {source['address'] or 'no address'}")
