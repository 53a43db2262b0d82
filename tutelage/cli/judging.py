"""The judge verb, and the scorer verb, which trains small models that score documents."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tutelage.cli.command import verb
from tutelage.cli.options import FILE

if TYPE_CHECKING:
    from rich.console import Console


@click.command(short_help="Scores of a sample of documents, by any OpenAI-compatible model.")
@click.argument("inputs", nargs=-1, required=True, metavar="FILE|PATTERN|CORPUS...")
@click.option("--url", required=True, help="The endpoint's address without /chat/completions.")
@click.option("--model", required=True, metavar="NAME", help="The judge's name at the endpoint.")
@click.option("--out", required=True, type=FILE, metavar="FILE.jsonl", help="Where the scores are written.")
@click.option(
    "--rubric", default="educational", metavar="FILE", help="What earns points; else: use in a school lesson."
)
@click.option(
    "--sample", type=click.IntRange(min=1), default=2000, show_default=True, help="How many documents to draw."
)
@click.option("--seed", default=0, show_default=True, help="Another one draws other documents.")
@click.option("--key-variable", metavar="NAME", help="The environment variable that holds the API key.")
@click.option("--parallel", type=click.IntRange(min=1), default=8, show_default=True, help="Concurrent requests.")
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    default=120.0,
    show_default=True,
    help="Seconds a request.",
)
@click.option("--attempts", type=click.IntRange(min=1), default=8, show_default=True, help="Attempts for one request.")
@click.option("--max-requests", type=click.IntRange(min=0), metavar="N", help="Stop after so many requests.")
@click.option(
    "--max-tokens-total",
    type=click.IntRange(min=0),
    metavar="N",
    help="Stop after so many tokens.",
)
@click.option("--request", multiple=True, metavar="KEY=VALUE", help="What each request also says: max_tokens=900.")
@verb
def judge(
    inputs: tuple[str, ...],
    url: str,
    model: str,
    out: Path,
    rubric: str,
    sample: int,
    seed: int,
    key_variable: str | None,
    parallel: int,
    timeout: float,
    attempts: int,
    max_requests: int | None,
    max_tokens_total: int | None,
    request: tuple[str, ...],
    as_json: bool,
) -> Any:
    """Draw documents and have a judge score each from 0 to 5: any OpenAI-compatible endpoint.

    Beside FILE.jsonl stand what got no score, the judge's answers and the account. The same command goes on where it
    was stopped, and pays for nothing twice. `tutelage scorer` learns from the scores.
    """
    from rich.console import Console

    from tutelage.client import EndpointSettings
    from tutelage.config import apply_overrides
    from tutelage.corpus.quality.judge import REQUEST
    from tutelage.corpus.quality.judge import judge as judge_documents
    from tutelage.corpus.quality.rubric import read_rubric

    given = apply_overrides({}, request)
    # Newer models of OpenAI take the one name and refuse the other.
    replaced = "max_tokens" if "max_completion_tokens" in given else None
    asked = {**{name: value for name, value in REQUEST.items() if name != replaced}, **given}
    endpoint = EndpointSettings(
        url=url,
        model=model,
        key_variable=key_variable,
        parallel=parallel,
        timeout=timeout,
        attempts=attempts,
        max_requests=max_requests,
        max_tokens_total=max_tokens_total,
    )
    account = judge_documents(inputs, endpoint, out, read_rubric(rubric), sample, seed, asked)
    if not as_json:
        print_account(account, Console())
        click.echo(f"to learn from them: tutelage scorer --scores {out} --out {out.with_suffix('.safetensors')}")
    return account


def print_account(account: dict[str, Any], console: Console) -> None:
    """What became of the documents, how often each score was given, and what it took."""
    from tutelage.ledger import Ledger

    for plain in account["ledgers"]:
        if plain["dropped"] or plain["step"] == "judge":
            console.print(Ledger.from_dict(plain).table())
    told = ", ".join(f"{score}: {count:,}" for score, count in enumerate(account["scores"]))
    console.print(f"scores: {told}", highlight=False)
    used = account["usage"]
    tokens = f"{used['prompt_tokens']:,} tokens read and {used['completion_tokens']:,} written"
    if used["answers"] and not used["prompt_tokens"]:
        tokens = "of how many tokens the endpoint does not say"
    console.print(f"{used['requests']:,} requests, {tokens}; {used['cached']:,} answers from before", highlight=False)


@click.command(short_help="A small model that scores documents, from scores or from two kinds of texts.")
@click.option("--scores", type=FILE, multiple=True, metavar="FILE", help="A judge's scores; may be given many times.")
@click.option("--positives", type=FILE, multiple=True, metavar="FILE", help="Or texts as they are wanted, and")
@click.option("--negatives", type=FILE, multiple=True, metavar="FILE", help="texts to tell them from.")
@click.option("--out", required=True, type=FILE, metavar="FILE", help="Where the model is written, as safetensors.")
@click.option(
    "--at-least", type=click.FloatRange(0, 5), default=3.0, show_default=True, help="Of scores: what would be kept."
)
@verb
def scorer(
    scores: tuple[Path, ...],
    positives: tuple[Path, ...],
    negatives: tuple[Path, ...],
    out: Path,
    at_least: float,
    as_json: bool,
) -> Any:
    """Train a small model that scores documents, from a judge's scores or from texts of two kinds, and say how far it
    can be trusted on texts that it did not learn from."""
    from rich.console import Console

    from tutelage.corpus.quality.training import train_from_kinds, train_from_scores

    if bool(scores) == bool(positives or negatives) or bool(positives) != bool(negatives):
        raise ValueError("a scorer learns from --scores, or from --positives and --negatives; give one or the other")
    if scores:
        found = train_from_scores([str(path) for path in scores], out, at_least)
    else:
        found = train_from_kinds([str(path) for path in positives], [str(path) for path in negatives], out)
    if not as_json:
        print_scorer(found, Console())
        if not found["warnings"]:
            step = f'kind = "judged", model = "{out}"' if scores else f'kind = "quality", model = "{out}"'
            click.echo(f"to use it, in a recipe: quality = {{ {step} }}")
    return found


def print_scorer(found: dict[str, Any], console: Console) -> None:
    """How far a scorer agrees with what it learned from."""

    def figure(of: dict[str, float]) -> str:
        return f"{of['value']:.3f} ({of['low']:.3f} to {of['high']:.3f})"

    lines = [f"learned from {found['texts']:,} texts; on texts not learned from:"]
    if found.get("spearman"):
        lines.append(f"  ranks agree (Spearman): {figure(found['spearman'])}")
    if found["area"]:
        lines.append(f"  a good text scores above another (AUC): {figure(found['area'])}")
    if found.get("f1"):
        of_all = f"{found['f1_of_all']:.3f}"
        lines.append(f"  kept from {found['threshold']:g} on (F1): {figure(found['f1'])}; everything kept: {of_all}")
    lines += [f"  {warning}" for warning in found["warnings"]]
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)
