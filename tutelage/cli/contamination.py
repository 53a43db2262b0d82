"""`evaluate --contamination`: the score on questions that stand in a training text, and on the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from tutelage.evaluate.contamination import ExaminedItem

SHOWN = 3
CONTAMINATION = click.option(
    "--contamination",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE|CORPUS|RUN",
    help="With --suite: search this training text for the questions; scores of the clean and dirty part; repeatable.",
)
NOT_CHECKED = "contamination not checked; name the training text: --contamination FILE|CORPUS|RUN"


def with_contamination(
    result: dict[str, Any],
    sources: Sequence[Path],
    items: Sequence[ExaminedItem],
    outcomes: Mapping[str, Mapping[str, float]],
    as_json: bool,
) -> dict[str, Any]:
    """The result of an evaluation with its `contamination`; None stands there where no source is named."""
    from tutelage.evaluate.contamination import contamination

    if not sources:
        if not as_json:
            click.echo(NOT_CHECKED)
        return result | {"contamination": None}
    found = contamination(items, outcomes, (text for path in sources for text in source_texts(path)))
    found["sources"] = [str(path) for path in sources]
    if not as_json:
        for line in lines(found):
            click.echo(line)
    return result | {"contamination": found}


def check_sources(sources: Sequence[Path]) -> None:
    """Raises DiskError or ValueError for a source that cannot be read, before a model is scored for nothing."""
    for path in sources:
        next(source_texts(path), None)


def source_texts(path: Path) -> Iterator[tuple[str, str]]:
    """Every training text of a source: of a run all data that its stages train on, of RUN/STAGE that of the stage and
    the stages below it.

    Raises:
        DiskError: a file cannot be read.
        ValueError: the path is none of these, or a file is damaged.
    """
    from tutelage.recipe import read_recipe
    from tutelage.stages.base import RECIPE
    from tutelage.stages.train_stage import trained_stages
    from tutelage.stages.training_text import data_texts, training_texts

    of_stage = not (path / RECIPE).exists() and (path.parent / RECIPE).exists()
    run = path.parent if of_stage else path
    if not (run / RECIPE).exists():
        yield from training_texts(path)
        return
    recipe = read_recipe(run / RECIPE)
    trained = trained_stages(recipe.stages)
    names = list(trained)
    if of_stage:
        if path.name not in recipe.stages:
            raise ValueError(f"{run} has no stage '{path.name}'; it has {', '.join(recipe.stages)}")
        names, name = [], path.name
        while name in recipe.stages:
            names.append(name)
            name = recipe.stages[name].parent or ""
    for data in dict.fromkeys(data for name in names if name in trained for data in trained[name].data):
        yield from data_texts(data, recipe.data, run)


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """The clean and the dirty part as lines for the terminal, with the first matched texts."""
    yield (
        f"contamination: {found['dirty']:,} of {found['items']:,} questions stand in the {found['texts']:,} training "
        f"texts, {found['answered']:,} of them with the answer; {found['unmatchable']:,} have too few words to tell"
    )
    for metric, parts in found["rates"].items():
        shown = [
            f"{name} {of['rate']:.1%} of {of['count']:,} ({of['low']:.1%} to {of['high']:.1%})"
            for name, of in parts.items()
        ]
        yield f"    {metric}: {'; '.join(shown) or 'neither part has a question'}"
    for match in found["matches"][:SHOWN]:
        yield f"    {match['id']}: {match['place']}: {match['text']!r}"
    if len(found["matches"]) > SHOWN:
        yield f"    {len(found['matches']) - SHOWN:,} more: --json"
