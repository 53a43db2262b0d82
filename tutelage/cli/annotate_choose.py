"""The `annotate choose` command: people choose a checkpoint."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tutelage.cli.annotate_options import access_of, guidelines_of, sampling_of, session_options, summary_of
from tutelage.cli.command import command
from tutelage.cli.options import FILE, MODEL

if TYPE_CHECKING:
    from tutelage.annotate.events import AnnotationItem
    from tutelage.annotate.state import Annotations


@click.command(short_help="Choose between checkpoints, blind.")
@click.argument("models", nargs=-1, required=True, metavar=f"{MODEL} ...")
@click.option("--prompts", required=True, type=FILE, metavar="FILE", help="Prompts that no model was trained on.")
@click.option(
    "--overlap", type=click.IntRange(1), default=1, show_default=True, help="How many people get each prompt."
)
@session_options
@command
def choose(models: tuple[str, ...], prompts: Path, as_json: bool, **options: Any) -> Any:
    """Open a page on which people rank the answers of 2 to 9 checkpoints, such as RUN/sft@1 RUN/sft@2, without knowing
    which is which. It ends when one is better than all others, looked at after 20 prompts and then every 10."""
    from tutelage.annotate.choose import choice_figures, choice_lines, until_decided
    from tutelage.annotate.events import LogSettings
    from tutelage.annotate.guidelines import RANK
    from tutelage.annotate.session import run_session
    from tutelage.ledger import Ledger

    if not 2 <= len({*models}) == len(models) <= 9:
        raise ValueError(f"{len(models)} models are named; 2 to 9 different ones can be compared")
    settings = LogSettings(
        task="choose",
        overlap=options["overlap"],
        seed=options["seed"],
        guidelines=guidelines_of(options["guidelines"], RANK),
    )

    note = partial(click.echo, err=True)

    def items(state: Annotations) -> Iterable[AnnotationItem]:
        from tutelage.annotate.items import read_prompt_items
        from tutelage.annotate.models import answered_items, ask_model

        ask = partial(ask_model, settings=sampling_of(options), note=note)
        return [*answered_items(state, read_prompt_items(prompts, Ledger("prompts")), models, ask)]

    state = run_session(
        options["out"],
        settings,
        items,
        access_of(options),
        note,
        until_decided(),
    )
    if not state.by_id:
        return {**summary_of(state), "log": options["out"]}
    found = choice_figures(state)
    if not as_json:
        for line in choice_lines(found):
            click.echo(line)
    return {**summary_of(state), "log": options["out"], "choice": found}
