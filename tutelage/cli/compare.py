"""The `compare` command: two runs, stages or results files side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tutelage.cli.command import command, new_console
from tutelage.cli.options import FILE, FOLDER


@click.command(short_help="Compare two runs, stages or results files.")
@click.argument("first", type=FOLDER, metavar="RUN[/STAGE]|RESULTS")
@click.argument("second", type=FOLDER, metavar="RUN[/STAGE]|RESULTS")
@click.option("--html", type=FILE, metavar="FILE", help="Also save the comparison as a page.")
@command
def compare(first: Path, second: Path, html: Path | None, as_json: bool) -> Any:
    """Compare two runs, two stages, or two results of an evaluation: files (evaluate ... --json), or folders of
    benchmarks (evaluate --suite NAME). The second counts as better or worse only if the 95% interval of the difference,
    paired by item, excludes 0."""
    from tutelage.evaluate.result_file import is_result_folder

    if first.is_file() or second.is_file() or (is_result_folder(first) and is_result_folder(second)):
        return _compare_results(first, second, html, as_json)
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


def _compare_results(first: Path, second: Path, html: Path | None, as_json: bool) -> Any:
    from tutelage.files import write_text
    from tutelage.report.compare_results import compare_folders, compare_results, result_lines
    from tutelage.report.compare_results_page import results_page

    if first.is_file() != second.is_file():
        raise ValueError(f"{first} and {second} are a folder and a file; give two runs, or two results files")
    comparison = compare_results(first, second) if first.is_file() else compare_folders(first, second)
    if html is not None:
        write_text(html, results_page(comparison))
    if not as_json:
        for line in result_lines(comparison):
            click.echo(line)
    return comparison
