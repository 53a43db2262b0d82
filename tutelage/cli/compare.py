"""The `compare` command: two runs or stages side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tutelage.cli.command import command, new_console
from tutelage.cli.options import FILE, FOLDER


@click.command(short_help="Compare two runs or stages.")
@click.argument("first", type=FOLDER, metavar="RUN[/STAGE]")
@click.argument("second", type=FOLDER, metavar="RUN[/STAGE]")
@click.option("--html", type=FILE, metavar="FILE", help="Also save the comparison as a page.")
@command
def compare(first: Path, second: Path, html: Path | None, as_json: bool) -> Any:
    """Compare two runs or two stages. The second counts as better or worse only if the 95% interval of the difference,
    paired by question, excludes 0."""
    from tutelage.files import write_text
    from tutelage.report.compare import compare as compare_runs
    from tutelage.report.compare_page import compare_page
    from tutelage.report.terminal import print_comparison

    comparison = compare_runs(first, second)
    if html is not None:
        write_text(html, compare_page(comparison))
    if not as_json:
        print_comparison(comparison, new_console())
    return comparison
