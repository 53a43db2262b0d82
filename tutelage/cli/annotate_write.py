"""The `annotate write` command: people write demonstrations."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tutelage.cli.annotate_options import access_of, guidelines_of, sampling_of, session_options, summary_of
from tutelage.cli.command import command, new_console
from tutelage.cli.options import FILE, MODEL

if TYPE_CHECKING:
    from tutelage.annotate.events import AnnotationItem
    from tutelage.annotate.state import Annotations


@click.command(short_help="Write an answer to each prompt.")
@click.argument("prompts", type=FILE, metavar="PROMPTS.jsonl")
@click.option("--suggest", metavar=MODEL, help="A model whose answer a writer may start from; the log says who did.")
@click.option(
    "--overlap", type=click.IntRange(1), default=1, show_default=True, help="How many people get each prompt."
)
@session_options
@command
def write(prompts: Path, as_json: bool, **options: Any) -> Any:
    """Open a page on which people write answers, with the guidelines beside the prompt. While they write, the checks of
    `tutelage audit` show what they find, such as placeholders, template markers and near duplicates."""
    from tutelage.annotate.events import LogSettings
    from tutelage.annotate.guidelines import WRITE
    from tutelage.annotate.session import run_session
    from tutelage.ledger import Ledger

    ledger = Ledger("prompts")
    settings = LogSettings(
        task="write",
        overlap=options["overlap"],
        seed=options["seed"],
        guidelines=guidelines_of(options["guidelines"], WRITE),
    )

    note = partial(click.echo, err=True)

    def items(state: Annotations) -> Iterable[AnnotationItem]:
        from tutelage.annotate.items import read_prompt_items
        from tutelage.annotate.models import ask_model, suggested_items

        asked = read_prompt_items(prompts, ledger)
        if options["suggest"] is None:
            return asked
        ask = partial(ask_model, settings=sampling_of(options), note=note)
        return suggested_items(state, asked, options["suggest"], ask)

    state = run_session(options["out"], settings, items, access_of(options), note)
    if not as_json and (ledger.dropped or ledger.noted):
        new_console().print(ledger.table())
    return {**summary_of(state), "log": options["out"], "ledger": ledger.to_dict()}
