"""The `annotate report` command: how good the votes are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tutelage.cli.command import command
from tutelage.cli.options import FILE


@click.command(short_help="Show agreement, time and gold items.")
@click.argument("log", type=FILE, metavar="LOG.jsonl")
@click.option(
    "--html", type=FILE, metavar="FILE", help="Also save it as a page, with the items that people disagree on."
)
@click.option("--seed", default=0, show_default=True, help="Seed of the resamples.")
@command
def report(log: Path, html: Path | None, seed: int, as_json: bool) -> Any:
    """Show how good the votes of a log are, also while it is written: Krippendorff's alpha, pairwise agreement, each
    person's agreement with others, with themselves and with gold items, time per item and votes faster than reading.
    Of `annotate choose` also the ratings, the decision, and what score and loss of training would have chosen."""
    from tutelage.annotate.choose import choice_figures, choice_lines
    from tutelage.annotate.log import read_log
    from tutelage.annotate.quality import quality_figures, quality_lines
    from tutelage.annotate.quality_page import quality_page
    from tutelage.annotate.state import read_events
    from tutelage.files import write_text

    state = read_events(read_log(log))
    found = quality_figures(state, seed)
    choice = choice_figures(state, seed) if state.settings.task == "choose" and state.by_id else None
    if html:
        write_text(html, quality_page(state, found, choice))
    if not as_json:
        for line in (*quality_lines(found), *(choice_lines(choice) if choice else ())):
            click.echo(line)
    return {**found, **({"choice": choice} if choice else {})}
