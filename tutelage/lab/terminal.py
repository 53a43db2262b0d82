"""The lab on the terminal: what can be tried, and what a finding came to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as Grid

from tutelage.lab.catalogue import FINDINGS
from tutelage.lab.finding import Verdict
from tutelage.lab.page import verdict_words
from tutelage.lab.record import Record, read_records

COLOURS: dict[Verdict, str] = {"reproduced": "green", "not at this scale": "yellow", "contradicted": "red"}


def overview(results: Path) -> list[dict[str, Any]]:
    """Every finding as plain data: number, name, claim, source, and the verdict where a result of it stands in a
    folder, else None."""
    known = {record.number: record for record in read_records(results)}
    return [
        {
            "number": finding.number,
            "name": finding.name,
            "claim": finding.claim,
            "source": finding.source,
            "verdict": verdict_words(known[number]) if number in known else None,
        }
        for number, finding in sorted(FINDINGS.items())
    ]


def print_overview(rows: Sequence[dict[str, Any]], console: Console) -> None:
    """The findings, a row each, and how one is tried."""
    grid = Grid("", "claim", "verdict", title="findings", title_justify="left")
    for row in rows:
        grid.add_row(str(row["number"]), row["claim"], row["verdict"] or "not tried yet")
    console.print(grid)
    console.print("try one: tutelage lab NUMBER (numbers that are missing here cannot be tried yet)", highlight=False)


def print_record(record: Record, console: Console) -> None:
    """A finding's claim, what was published, its table and its verdict."""
    console.print(f"[bold]{record.title}[/]", highlight=False)
    for words, text in (("claim", record.claim), ("published", f"{record.published} ({record.source})")):
        console.print(f"{words}: {text}", highlight=False, markup=False)
    grid = Grid()
    for heading in record.table.header:
        grid.add_column(heading, overflow="fold")
    for row in record.table.rows:
        grid.add_row(*map(str, row))
    console.print(grid)
    console.print(f"[bold {COLOURS[record.verdict]}]{verdict_words(record)}[/]", highlight=False)
    console.print(record.why, highlight=False, markup=False)
