"""The `annotate plan` command: how many labels are needed, and what they cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tutelage.cli.command import command, new_console
from tutelage.cli.options import FILE

POSITIVE = click.FloatRange(0, min_open=True)


@click.command(short_help="How many labels, and what they cost.")
@click.option(
    "--pilot", type=FILE, metavar="LOG.jsonl", help="A log of `annotate choose`: prompts until it is decided."
)
@click.option("--spread", type=POSITIVE, default=1.0, show_default=True, help="Standard deviation of the utilities.")
@click.option("--noise", type=POSITIVE, default=1.0, show_default=True, help="Temperature of the annotators' noise.")
@click.option("--gap", type=POSITIVE, default=0.3, show_default=True, help="Mean difference of two models' utilities.")
@click.option("--prompt-words", type=POSITIVE, default=20.0, show_default=True, help="Words of a prompt.")
@click.option("--answer-words", type=POSITIVE, default=60.0, show_default=True, help="Words of an answer.")
@click.option("--wage", type=POSITIVE, default=20.0, show_default=True, help="Of an hour, in any currency.")
@command
def plan(pilot: Path | None, spread: float, noise: float, gap: float, as_json: bool, **options: Any) -> Any:
    """Show what an item of 2 to 9 answers tells in bits, how long it takes and what it costs, and how many prompts it
    takes until `annotate choose` is decided with probability 0.8, for annotators of known noise or from a pilot."""
    from tutelage.annotate import plan as planned
    from tutelage.annotate.log import read_log
    from tutelage.annotate.state import read_events

    cost = planned.LabelCost(options["prompt_words"], options["answer_words"], options["wage"])
    rows = planned.cost_table(range(2, 10), spread, noise, cost)
    needed = {
        overlap: planned.prompts_until_decided(*planned.known_share(gap, spread, noise, overlap))
        for overlap in (1, 2, 3)
    }
    figures = planned.pilot_figures(read_events(read_log(pilot))) if pilot else []
    if not as_json:
        from rich.table import Table

        table = Table("answers", "pairs", "bits", "seconds", "bits a minute", "cost of a bit")
        for row in rows:
            table.add_row(
                f"{row['answers']}",
                f"{row['pairs']}",
                f"{row['bits']:.2f}",
                f"{row['seconds']:.0f}",
                f"{row['bits_per_minute']:.2f}",
                f"{row['cost_per_bit']:.3f}",
            )
        new_console().print(table)
        for overlap, prompts in needed.items():
            votes = "1 vote" if overlap == 1 else f"{overlap} votes"
            click.echo(f"until it is decided between two models: {prompts:,} prompts of {votes}")
        for line in planned.pilot_lines(figures):
            click.echo(line)
    return {"items": rows, "prompts_needed": needed, "pilot": figures}
