"""The `token-shift` command: what alignment changed, token by token."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tutelage.cli.command import command
from tutelage.cli.options import FILE, MODEL

if TYPE_CHECKING:
    from tutelage.records import Conversation


@click.command(name="token-shift", short_help="Show which tokens alignment changed.")
@click.argument("aligned", metavar=MODEL)
@click.argument("prompts", type=FILE, metavar="PROMPTS.jsonl")
@click.option("--base", required=True, metavar=MODEL, help="The base model below it.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Only the first N prompts.")
@click.option("--max-tokens", type=click.IntRange(1), default=128, show_default=True, help="Longest answer.")
@click.option("--html", type=FILE, metavar="FILE", help="Save the answers as a page, coloured by class.")
@command
def token_shift(
    aligned: str, prompts: Path, base: str, limit: int | None, max_tokens: int, html: Path | None, as_json: bool
) -> Any:
    """Let a fine-tuned model answer, and rank each token of its answers under the base model: 1 is unshifted, 2 or 3
    marginal, above 3 shifted. By position too: alignment mostly changes how answers begin."""
    from tutelage.engine.sampling import SamplingSettings
    from tutelage.evaluate.answers import can_chat
    from tutelage.evaluate.token_shift import shift_figures, shift_lines
    from tutelage.evaluate.token_shift import token_shift as shifts
    from tutelage.files import write_text
    from tutelage.find_model import find_model
    from tutelage.model.hub import load_model
    from tutelage.report.token_shift import shift_page

    rows = _read(prompts)[:limit]
    checkpoint, below = load_model(find_model(aligned)), load_model(find_model(base))
    if not can_chat(checkpoint):
        raise ValueError(f"{aligned} is a base model and answers no prompts; give a fine-tuned one")
    answers, same_prompt = shifts(checkpoint, below, rows, SamplingSettings(max_tokens=max_tokens))
    found = {"aligned": aligned, "base": base, "same_prompt": same_prompt, **shift_figures(answers, checkpoint)}
    if html is not None:
        write_text(html, shift_page(found, answers, checkpoint.tokenizer))
    if not as_json:
        for line in shift_lines(found):
            click.echo(line)
        if not same_prompt:
            click.echo("the base model lacks tokens of the chat template; it read the prompts as plain text")
    return found


def _read(path: Path) -> list[Conversation]:
    from tutelage.chat.formats import read_tasks
    from tutelage.ledger import Ledger
    from tutelage.records import Conversation

    found = [Conversation(task.prompt, task.id, tools=task.tools) for task in read_tasks(path, Ledger("prompts"))]
    if not found:
        raise ValueError(f"{path} has no prompts; write one {{'prompt': ...}} per line")
    return found
