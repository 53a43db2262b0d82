"""The `memorisation` command: does a model repeat its training text?"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tutelage.cli.command import command
from tutelage.cli.options import MODEL

if TYPE_CHECKING:
    from tutelage.evaluate.memorisation import Extraction, MemorisedText
    from tutelage.model.hub import Checkpoint


class _Lengths(click.ParamType):
    """Numbers of tokens, separated by commas."""

    name = "lengths"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """As `click.ParamType`."""
        if isinstance(value, tuple):
            return value
        parts = [part.strip() for part in str(value).split(",")]
        if not all(part.isdigit() and int(part) for part in parts):
            self.fail(f"{value!r} must be numbers of tokens, such as 10,25,50", param, ctx)
        return tuple(sorted({int(part) for part in parts}))


@click.command(short_help="Measure what a model repeats of its training text.")
@click.argument("model", metavar=MODEL)
@click.argument("texts", type=click.Path(path_type=Path), metavar="TEXTS|CORPUS|RUN")
@click.option(
    "--prefixes", type=_Lengths(), default="5,10,25,50", show_default=True, help="Prefixes to try, in tokens."
)
@click.option("--suffix", type=click.IntRange(1), default=25, show_default=True, help="Tokens to extract.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="A seeded sample of the texts.")
@click.option("--seed", default=0, show_default=True, help="Seed of the sample and of the search.")
@click.option(
    "--acr", type=click.IntRange(1), metavar="N", help="Search for the shortest prompts of N texts: compression ratio."
)
@click.option("--acr-steps", type=click.IntRange(1), help="With --acr: steps for a prompt length (default 100).")
@click.option(
    "--before", metavar=MODEL, help="The model before unlearning: which texts are gone, which a prompt still gives?"
)
@command
def memorisation(
    model: str,
    texts: Path,
    prefixes: tuple[int, ...],
    suffix: int,
    limit: int | None,
    seed: int,
    acr: int | None,
    acr_steps: int | None,
    before: str | None,
    as_json: bool,
) -> Any:
    """Measure what a model repeats of a text that it was, or may have been, trained on: the share of texts whose suffix
    greedy decoding gives exactly, by prefix length. Rows {"text": ..., "count": N} of canaries, planted N times, are
    also told by count; those of count 0 show what chance gives."""
    from tutelage.evaluate.memorisation import extract, unlearning
    from tutelage.evaluate.memorisation import memorisation as figures
    from tutelage.find_model import find_model
    from tutelage.model.hub import load_model

    if acr_steps is not None and acr is None:
        raise ValueError("--acr-steps is for the search of --acr N; add it")
    rows = _read(texts)
    if limit is not None and limit < len(rows):
        rows = [rows[place] for place in sorted(random.Random(seed).sample(range(len(rows)), limit))]
    checkpoint = load_model(find_model(model))
    found, too_short = extract(checkpoint, rows, prefixes, suffix)
    result: dict[str, Any] = {"model": model, "texts_from": str(texts), "suffix": suffix, **figures(found, too_short)}
    earlier = None if before is None else extract(load_model(find_model(before)), rows, prefixes, suffix)[0]
    if acr is not None:
        result["compression"] = _compress(checkpoint, rows, found, earlier, acr, acr_steps or 100, seed)
    if earlier is not None:
        result["unlearning"] = unlearning(earlier, found, result.get("compression", {}))
    if not as_json:
        for line in lines(result):
            click.echo(line)
    return result


def _read(path: Path) -> list[MemorisedText]:
    """The texts of a file of rows with their counts; or every training text of a corpus or run."""
    from tutelage.cli.contamination import source_texts
    from tutelage.evaluate.memorisation import MemorisedText
    from tutelage.io.row import BrokenRow
    from tutelage.io.rows import rows

    if path.is_file() and path.suffix in (".jsonl", ".ndjson"):
        found = []
        for place, row in rows(path, lambda row: "text" in row):
            if isinstance(row, BrokenRow):
                raise ValueError(f"{path.with_name(place)}: {row}; fix the row or remove it")
            if row is not None and isinstance(row.get("text"), str):
                count = row.get("count")
                found.append(
                    MemorisedText(str(row.get("id", place)), row["text"], count if type(count) is int else None)
                )
        if found:
            return found
    return [MemorisedText(place, text) for place, text in source_texts(path)]


def _compress(
    checkpoint: Checkpoint,
    rows: Sequence[MemorisedText],
    found: Sequence[Extraction],
    earlier: Sequence[Extraction] | None,
    most: int,
    steps: int,
    seed: int,
) -> dict[str, Any]:
    """The compression of the first texts by id: after unlearning those that are no longer extracted, otherwise those
    that are, then the others."""
    from tutelage.evaluate.compression import GcgSettings, compress
    from tutelage.progress import track

    longest = max(found[0].extracted)
    extracted = {one.id for one in found if one.extracted[longest]}
    wanted = extracted
    if earlier is not None:
        wanted = {one.id for one in earlier if one.extracted[longest]} - extracted
    texts = {row.id: row.text for row in rows if row.id in {one.id for one in found}}
    order = sorted(texts, key=lambda name: name not in wanted)[:most]
    settings, ratios = GcgSettings(steps=steps, seed=seed), {}
    with track("compression", len(order), "texts") as bar:
        for name in order:
            ratios[name] = compress(checkpoint, texts[name], settings).to_plain()
            bar.update(1)
    return ratios


def lines(result: Mapping[str, Any]) -> Iterator[str]:
    """The figures as lines for the terminal."""
    yield f"{result['texts']:,} texts, {result['too_short']:,} more are too short; suffix of {result['suffix']} tokens"
    for prefix, of in result["by_prefix"].items():
        yield f"extracted after {prefix} tokens: {of['rate']:.1%} ({of['low']:.1%} to {of['high']:.1%})"
    for count, of in result.get("by_count", {}).items():
        exposure = f", exposure {of['exposure']:.1f} of {of['most_exposure']:.1f} bits" if "exposure" in of else ""
        rate = f"{of['rate']:.1%} of {of['count']:,} ({of['low']:.1%} to {of['high']:.1%})"
        yield f"planted {count:,} times: extracted {rate}, {of['nats_per_token']:.2f} nats per token{exposure}"
    for name, of in result.get("compression", {}).items():
        ratio = "no shorter prompt found" if of["ratio"] is None else f"{of['ratio']:.1f} from {of['prompt']!r}"
        yield f"compression ratio of {name}: {ratio}"
    if "unlearning" in result:
        of = result["unlearning"]
        yield f"extracted before unlearning {of['before']:,}, after {of['after']:,}; gone {len(of['no_longer']):,}"
        searched = f"{len(of['still_held']):,} of {of['searched']:,} that were searched for"
        yield (
            f"gone, but a prompt shorter than the text still gives it: {searched}"
            if of["searched"]
            else ("whether a prompt still gives what is gone was not searched for: --acr N")
        )
