"""The lab on the terminal: the list of findings, and one result."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as Grid

from tutelage.lab.catalogue import FINDINGS, is_current
from tutelage.lab.page import verdict_text
from tutelage.lab.results import FindingResult, trained_results
from tutelage.lab.verdict import Verdict

COLOURS: dict[Verdict, str] = {"reproduced": "green", "not at this scale": "yellow", "contradicted": "red"}


def overview(results: Path) -> list[dict[str, Any]]:
    """Every finding as plain data: number, name, claim, source, verdict (None without a result in the folder),
    and whether that is of this version and recipe."""
    known = trained_results(results)
    return [
        {
            "number": finding.number,
            "name": finding.name,
            "claim": finding.claim,
            "source": finding.source,
            "verdict": verdict_text(known[number]) if number in known else None,
            "current": number in known and is_current(known[number]),
        }
        for number, finding in FINDINGS.items()
    ]


def print_overview(rows: Sequence[dict[str, Any]], console: Console) -> None:
    """Print the findings, one per row, and how to run one."""
    grid = Grid("", "claim", "verdict", title="findings", title_justify="left")
    for row in rows:
        changed = "; run it again: the recipe has changed" if row["verdict"] and not row["current"] else ""
        grid.add_row(row["number"], row["claim"], f"{row['verdict'] or 'not run yet'}{changed}")
    console.print(grid)
    console.print("run one: tutelage lab NUMBER (missing numbers are not implemented yet)", highlight=False)


def print_result(result: FindingResult, console: Console) -> None:
    """Print a finding's claim, published results, table and verdict."""
    console.print(result.title, style="bold", highlight=False, markup=False)
    for label, text in (("claim", result.claim), ("published", f"{result.published} ({result.source})")):
        console.print(f"{label}: {text}", highlight=False, markup=False)
    grid = Grid()
    for heading in result.table.header:
        grid.add_column(heading, overflow="fold")
    for row in result.table.rows:
        grid.add_row(*map(str, row))
    console.print(grid)
    console.print(verdict_text(result), style=f"bold {COLOURS[result.verdict]}", highlight=False, markup=False)
    console.print(result.reason, highlight=False, markup=False)
