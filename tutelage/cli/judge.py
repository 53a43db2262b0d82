"""The `judge` command: scores a sample of documents with an LLM judge."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tutelage.cli.command import command, new_console
from tutelage.cli.endpoint_options import ENDPOINT, endpoint_settings, request_fields
from tutelage.cli.fine_tune import with_options
from tutelage.cli.options import FILE

if TYPE_CHECKING:
    from rich.console import Console


@click.command(short_help="Score a sample of documents with an LLM judge.")
@click.argument("inputs", nargs=-1, required=True, metavar="FILE|PATTERN|CORPUS...")
@click.option("--out", required=True, type=FILE, metavar="FILE.jsonl", help="The scores to write.")
@click.option(
    "--rubric",
    default="educational",
    metavar="FILE",
    help="Criteria for points; default: educational value, as FineWeb-Edu.",
)
@click.option(
    "--sample", type=click.IntRange(min=1), default=2000, show_default=True, help="Number of documents to draw."
)
@click.option("--seed", default=0, show_default=True, help="Seed of the sample.")
@with_options(ENDPOINT)
@command
def judge(inputs: tuple[str, ...], out: Path, rubric: str, sample: int, seed: int, as_json: bool, **given: Any) -> Any:
    """Draw a sample of documents and score each from 0 to 5 with an LLM judge at an OpenAI-compatible endpoint.

    Beside FILE.jsonl are the documents without a score, the cached responses and a summary. Rerun the same command to
    resume; no request is paid for twice. `tutelage scorer` trains a model on the scores.
    """

    from tutelage.corpus.quality.judge import REQUEST
    from tutelage.corpus.quality.judge import judge as judge_documents
    from tutelage.corpus.quality.rubric import read_rubric

    fields = request_fields(REQUEST, given)
    summary = judge_documents(inputs, endpoint_settings(given), out, read_rubric(rubric), sample, seed, fields)
    if not as_json:
        print_summary(summary, new_console())
        click.echo(f"train a scorer: tutelage scorer --scores {out} --out {out.with_suffix('.safetensors')}")
    return summary


def print_summary(summary: dict[str, Any], console: Console) -> None:
    """Print the ledgers, the distribution of the scores, and the cost."""
    from tutelage.ledger import Ledger

    for plain in summary["ledgers"]:
        if plain["dropped"] or plain["step"] == "judge":
            console.print(Ledger.from_dict(plain).table())
    counts = ", ".join(f"{score}: {count:,}" for score, count in enumerate(summary["score_counts"]))
    console.print(f"scores: {counts}", highlight=False)
    usage = summary["usage"]
    tokens = f"{usage['prompt_tokens']:,} prompt tokens, {usage['completion_tokens']:,} completion tokens"
    if usage["answers"] and not usage["prompt_tokens"]:
        tokens = "token usage not reported"
    console.print(f"{usage['requests']:,} requests, {tokens}; {usage['cached']:,} cached answers", highlight=False)
