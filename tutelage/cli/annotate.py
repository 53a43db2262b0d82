"""The `annotate` command: people write demonstrations, rank answers and choose checkpoints."""

from __future__ import annotations

import click

from tutelage.cli.annotate_choose import choose
from tutelage.cli.annotate_export import export
from tutelage.cli.annotate_import import import_votes
from tutelage.cli.annotate_plan import plan
from tutelage.cli.annotate_rank import rank
from tutelage.cli.annotate_report import report
from tutelage.cli.annotate_simulate import simulate
from tutelage.cli.annotate_write import write
from tutelage.cli.command import CommandGroup


@click.group(
    cls=CommandGroup,
    commands=[write, rank, choose, report, export, import_votes, plan, simulate],
    short_help="Let people write, rank and choose.",
)
def annotate() -> None:
    """Let people write demonstrations, rank answers and choose checkpoints on a local page. All that they submit is in
    one append-only file (docs/annotation.md)."""
