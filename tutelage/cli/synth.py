"""The `synth` command: makes data with a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tutelage.cli.command import command, new_console
from tutelage.cli.options import RECIPE, SETTINGS, split_out

if TYPE_CHECKING:
    from rich.console import Console


@click.command(short_help="Make data with a model: synthesis, distillation.")
@RECIPE
@SETTINGS
@click.option("--again", is_flag=True, help="Make all rows again from cached answers; ask only what has none.")
@click.option("--preview", type=click.IntRange(min=1), metavar="N", help="Show the first N questions; ask nothing.")
@command
def synth(recipe: Path, settings: tuple[str, ...], again: bool, preview: int | None, as_json: bool) -> Any:
    """Make the rows of a synthesis recipe, and write DIR/data.jsonl, dropped.jsonl, synth.json and index.html.

    The teacher is an OpenAI-compatible endpoint (teacher=http://127.0.0.1:8000/v1), a model's folder (teacher=./model),
    or the built-in world (teacher=world). Every dropped row is in dropped.jsonl with its reason. Run the same command
    again to go on; nothing is asked twice.
    """
    from tutelage.synth.recipe import load_recipe
    from tutelage.synth.runner import synthesise

    overrides, out = split_out(settings)
    loaded = load_recipe(recipe, overrides)
    if preview is not None:
        from tutelage.synth.preview import first_questions

        questions = first_questions(loaded, preview)
        if not as_json:
            for question in questions:
                click.echo(f"--- {question['purpose']}, {question['sampling']}")
                for turn in question["messages"]:
                    click.echo(f"[{turn['role']}] {turn['content']}")
        return questions
    target = out or Path("data") / loaded.name
    summary = synthesise(loaded, target, again)
    if not as_json:
        print_summary(summary, new_console())
        click.echo(f"{summary['rows']:,} rows: {target / 'data.jsonl'}; page: {target / 'index.html'}")
    return summary


def print_summary(summary: dict[str, Any], console: Console) -> None:
    """Print the account of every step, and the cost."""
    from tutelage.ledger import Ledger

    for step in summary["steps"]:
        for plain in step["ledgers"]:
            console.print(Ledger.from_dict(plain).table())
    for name, usage in summary["usage"].items():
        tokens = f"{usage['prompt_tokens']:,} prompt tokens, {usage['completion_tokens']:,} completion tokens"
        cached = f"; {usage['cached']:,} cached answers" if usage.get("cached") else ""
        console.print(f"{name} {summary['models'][name]}: {usage['requests']:,} requests, {tokens}{cached}")
