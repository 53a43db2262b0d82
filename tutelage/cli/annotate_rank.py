"""The `annotate rank` command: people rank answers."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tutelage.cli.annotate_options import access_of, guidelines_of, sampling_of, session_options, summary_of
from tutelage.cli.command import command, new_console
from tutelage.cli.options import FILE, SHARE

if TYPE_CHECKING:
    from tutelage.annotate.events import AnnotationItem
    from tutelage.annotate.state import Annotations


@click.command(short_help="Rank 2 to 9 answers to each prompt.")
@click.argument("prompts", type=FILE, metavar="[PROMPTS.jsonl]", required=False)
@click.option("--models", metavar="A,B,...", help="Models that answer the prompts, 2 to 9.")
@click.option("--answers", type=FILE, metavar="FILE", help='Answers instead: {"prompt", "answers", "models", "gold"}.')
@click.option("--overlap", type=click.IntRange(1), default=1, show_default=True, help="How many people get each item.")
@click.option("--repeat", type=SHARE, default=0.0, show_default=True, help="Share of items that a person gets twice.")
@click.option("--screen", type=click.IntRange(0), default=0, show_default=True, help="Gold items at the beginning.")
@click.option("--no-ties", is_flag=True, help="No two answers of an item may have the same rank.")
@session_options
@command
def rank(prompts: Path | None, as_json: bool, **options: Any) -> Any:
    """Open a page on which people rank answers without knowing who wrote them: the models' answers to PROMPTS, or those
    of a file. Several people get each item with --overlap, and see nothing of each other."""
    from tutelage.annotate.events import LogSettings
    from tutelage.annotate.guidelines import RANK
    from tutelage.annotate.session import run_session
    from tutelage.ledger import Ledger

    models = [name.strip() for name in (options["models"] or "").split(",") if name.strip()]
    if (options["answers"] is None) == (prompts is None):
        raise ValueError("give either PROMPTS with --models, or --answers FILE")
    if prompts is not None and not 2 <= len({*models}) == len(models) <= 9:
        raise ValueError(f"--models names {len(models)} models; 2 to 9 different ones can be ranked")
    ledger = Ledger("items")
    settings = LogSettings(
        task="rank",
        overlap=options["overlap"],
        repeat=options["repeat"],
        screen=options["screen"],
        ties=not options["no_ties"],
        seed=options["seed"],
        guidelines=guidelines_of(options["guidelines"], RANK),
    )

    note = partial(click.echo, err=True)

    def items(state: Annotations) -> Iterable[AnnotationItem]:
        from tutelage.annotate.items import read_answer_items, read_prompt_items
        from tutelage.annotate.models import answered_items, ask_model

        if prompts is None:
            return read_answer_items(options["answers"], ledger)
        ask = partial(ask_model, settings=sampling_of(options), note=note)
        return [*answered_items(state, read_prompt_items(prompts, ledger), models, ask)]

    state = run_session(options["out"], settings, items, access_of(options), note)
    if not as_json and (ledger.dropped or ledger.noted):
        new_console().print(ledger.table())
    return {**summary_of(state), "log": options["out"], "ledger": ledger.to_dict()}
