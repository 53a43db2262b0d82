"""Ratings on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text


def arena_table(result: Mapping[str, Any]) -> Table:
    """The players of `evaluate.arena.arena`, the best first."""
    table = Table(title=f"{result['battles']:,} battles over {result['prompts']:,} prompts")
    grouped = len({player["group"] for player in result["players"]}) > 1
    columns = ["model", "rating", "95% interval", "battles", "win rate", "ties", "online Elo"]
    for name in [*columns, *(["group"] if grouped else [])]:
        table.add_column(name, justify="left" if name == "model" else "right", no_wrap=name != "model")
    for player in result["players"]:
        low, high = (player[bound] for bound in ("low", "high"))
        bounds = f"{'open' if low is None else format(low, '.0f')} to {'open' if high is None else format(high, '.0f')}"
        cells = [
            f"{player['rating']:.0f}",
            bounds,
            f"{player['battles']:,}",
            f"{player['win_rate']:.1%}",
            f"{player['ties']:.1%}",
            f"{player['elo_low']:.0f} to {player['elo_high']:.0f}",
            *([str(player["group"])] if grouped else []),
        ]
        table.add_row(Text(player["name"]), *cells)
    return table
