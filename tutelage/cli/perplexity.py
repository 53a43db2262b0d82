"""The `perplexity` command: how well a model predicts texts, by source."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tutelage.cli.command import command
from tutelage.cli.options import MODEL

if TYPE_CHECKING:
    from tutelage.evaluate.perplexity import SourceText

_PLACE = re.compile(r"[:#,]")


@click.command(short_help="Measure how well a model predicts texts, by source.")
@click.argument("model", metavar=MODEL)
@click.argument("texts", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE|CORPUS|RUN...")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="A seeded sample of N texts of each source.")
@click.option("--seed", default=0, show_default=True, help="Seed of the sample.")
@command
def perplexity(model: str, texts: tuple[Path, ...], limit: int | None, seed: int, as_json: bool) -> Any:
    """Measure the loss of a model on texts, per token and per byte, by source: each file is one, and each data set of
    a run. Rows of conversations count as text, without their template."""
    from tutelage.evaluate.perplexity import perplexity as figures
    from tutelage.evaluate.perplexity import perplexity_lines, text_losses
    from tutelage.find_model import find_model
    from tutelage.model.hub import load_model

    sources = _by_source(texts)
    rng = random.Random(seed)
    rows = []
    for own in sources.values():
        places = range(len(own)) if limit is None or limit >= len(own) else sorted(rng.sample(range(len(own)), limit))
        rows += [own[place] for place in places]
    found = figures(text_losses(load_model(find_model(model)), rows))
    if not as_json:
        for line in perplexity_lines(found):
            click.echo(line)
    return {"model": model, "texts": [str(path) for path in texts], "limit": limit, "seed": seed, **found}


def _by_source(paths: tuple[Path, ...]) -> dict[str, list[SourceText]]:
    """The texts by source: the name of their file, or of their data set in a run."""
    from tutelage.cli.contamination import source_texts
    from tutelage.evaluate.perplexity import SourceText

    found: dict[str, list[SourceText]] = {}
    for path in paths:
        for place, text in source_texts(path):
            source = _PLACE.split(place)[0]
            found.setdefault(source, []).append(SourceText(source, place, text))
    if not found:
        raise ValueError("there is no text to predict; name a file of rows, a corpus or a run")
    return found
