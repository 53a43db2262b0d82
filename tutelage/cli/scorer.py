"""The `scorer` command: trains small models that score documents."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tutelage.cli.command import command, new_console
from tutelage.cli.options import FILE

if TYPE_CHECKING:
    from rich.console import Console


@click.command(short_help="Train a small model that scores documents.")
@click.option("--scores", type=FILE, multiple=True, metavar="FILE", help="Scores of `tutelage judge`; repeatable.")
@click.option("--positives", type=FILE, multiple=True, metavar="FILE", help="Alternatively: good texts; repeatable.")
@click.option(
    "--negatives", type=FILE, multiple=True, metavar="FILE", help="With --positives: other texts; repeatable."
)
@click.option("--out", required=True, type=FILE, metavar="FILE", help="The model to write, as safetensors.")
@click.option(
    "--threshold",
    type=click.FloatRange(0, 5),
    default=3.0,
    show_default=True,
    help="With --scores: the score from which documents are kept.",
)
@command
def scorer(
    scores: tuple[Path, ...],
    positives: tuple[Path, ...],
    negatives: tuple[Path, ...],
    out: Path,
    threshold: float,
    as_json: bool,
) -> Any:
    """Train a small model that scores documents, from the scores of an LLM judge or from positive and negative texts.
    Reports its agreement with held-out labels (cross-validation).
    """

    from tutelage.corpus.quality.training import train_from_classes, train_from_scores

    if bool(scores) == bool(positives or negatives) or bool(positives) != bool(negatives):
        raise ValueError("give either --scores, or both --positives and --negatives")
    if scores:
        result = train_from_scores([str(path) for path in scores], out, threshold)
    else:
        result = train_from_classes([str(path) for path in positives], [str(path) for path in negatives], out)
    if not as_json:
        print_scorer(result, new_console())
        if not result["warnings"]:
            kind = "distilled_score" if scores else "quality"
            click.echo(f'to use it in a recipe: quality = {{ kind = "{kind}", model = "{out}" }}')
    return result


def print_scorer(result: dict[str, Any], console: Console) -> None:
    """Print the agreement of a scorer with held-out labels."""

    def with_interval(figure: dict[str, float]) -> str:
        return f"{figure['value']:.3f} (95% CI {figure['low']:.3f} to {figure['high']:.3f})"

    lines = [f"trained on {result['texts']:,} texts; cross-validated:"]
    if result.get("spearman"):
        lines.append(f"  Spearman correlation: {with_interval(result['spearman'])}")
    if result["auc"]:
        lines.append(f"  AUC: {with_interval(result['auc'])}")
    if result.get("f1"):
        keep_all = f"{result['f1_keep_all']:.3f}"
        lines.append(
            f"  F1 at threshold {result['threshold']:g}: {with_interval(result['f1'])}; keeping everything: {keep_all}"
        )
    lines += [f"  warning: {warning}" for warning in result["warnings"]]
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)
