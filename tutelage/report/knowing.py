"""The two-way tables of the suite "knowing": what was known, and what the model did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tutelage.files import read_json
from tutelage.html import Html, heading, paragraph, table
from tutelage.report.read import Finished
from tutelage.stages.base import EVALUATIONS

ROWS = {
    "known": "read, but never asked about",
    "indexed": "in the search index alone",
    "unknown": "nonexistent names",
    "sum": "sums",
}
COLUMNS = {
    "right": "right",
    "wrong": "wrong or made up",
    "refused": "refused",
    "right, after a call": "called, right",
    "wrong, after a call": "called, wrong or made up",
    "refused, after a call": 'called, "not found"',
}


def knowing_tables(stages: Mapping[str, Finished]) -> Iterator[Html]:
    """A table for each stage that was evaluated, without tools and, where it calls them, with tools."""
    for name, stage in stages.items():
        path = stage.folder / EVALUATIONS / "knowing.json"
        if not path.exists():
            continue
        figures = read_json(path)["results"]["figures"]
        for key, title in (("table", "without tools"), ("table_with_tools", "with tools")):
            if key in figures:
                yield heading(f"{name}, {title}: what was known, and what it did")
                yield _table(figures[key])
        if cost := figures.get("cost"):
            yield paragraph(
                f"{name}: a question costs {cost['written_direct']:.0f} written tokens where it is answered directly, "
                f"and {cost['written_with_calls']:.0f} written and {cost['added_with_calls']:.0f} read where tools are "
                f"called; without tools {cost['written_without_tools']:.0f}.",
                muted=True,
            )


def _table(counts: Mapping[str, Mapping[str, Any]]) -> Html:
    used = [column for column in COLUMNS if any(column in row for row in counts.values())]
    rows = [
        [label, *(f"{counts[name].get(column, 0):,}" for column in used)]
        for name, label in ROWS.items()
        if name in counts
    ]
    return table(["", *(COLUMNS[column] for column in used)], rows, numeric=range(1, len(used) + 1))
