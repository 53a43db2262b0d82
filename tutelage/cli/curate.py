"""The `curate` command, and what `look` shows of a curated corpus."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tutelage.cli.command import command, new_console
from tutelage.cli.options import RECIPE, SETTINGS, split_address, split_out

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from tutelage.corpus.curation import Curation

CORPORA = Path("corpora")


@click.command(short_help="Curate a pre-training corpus from raw files.")
@RECIPE
@SETTINGS
@click.option(
    "--estimate",
    type=click.FloatRange(0, min_open=True),
    metavar="MIB",
    help="Run on about so many MiB of the input only, and say what all of it would give and take.",
)
@command
def curate(recipe: Path, settings: tuple[str, ...], estimate: float | None, as_json: bool) -> Any:
    """Curate a training corpus from raw files by the steps of a recipe; or mix corpora, if the recipe has [sources]. An
    interrupted curation resumes per shard.

    DIR defaults to corpora/NAME, by the name of the recipe; it may be an address, such as s3://bucket/corpus. Any other
    setting of the recipe can be overridden by its dotted name, such as input='warcs/*.warc.gz'.
    """

    from tutelage.config import read_toml
    from tutelage.corpus.curation import load_curation
    from tutelage.corpus.funnel_page import CARD, PAGE, write_pages
    from tutelage.corpus.pipeline import curate
    from tutelage.corpus.publish import curate_to

    if "sources" in read_toml(recipe):
        if estimate is not None:
            raise ValueError(f"{recipe} is a mix, and --estimate is for recipes with steps; omit it")
        overrides, folder = split_out(settings)
        return _mix(recipe, overrides, folder, as_json)
    overrides, given = split_address(settings)
    curation = load_curation(recipe, overrides)
    if estimate is not None:
        return _estimate(curation, estimate, as_json)
    out = (given or str(CORPORA / curation.name)).rstrip("/")
    if "://" in out:
        result = curate_to(curation, out)
    else:
        result = curate(curation, Path(out))
        write_pages(Path(out))
    if not as_json:
        print_funnel(result, new_console())
        click.echo(f"report (funnel, samples of dropped documents): {out}/{PAGE}")
        click.echo(f"dataset card: {out}/{CARD}")
    return result


def _mix(path: Path, overrides: list[str], folder: Path | None, as_json: bool) -> Any:

    from tutelage.corpus.mix import load_mix, mix

    recipe = load_mix(path, overrides)
    results = mix(recipe, folder or CORPORA / recipe.name)
    if not as_json:
        for result in results.values():
            print_mix(result, new_console())
    return results


def _estimate(curation: Curation, mib: float, as_json: bool) -> Any:
    from tutelage.corpus.estimate import estimate
    from tutelage.progress import duration

    found = estimate(curation, mib)
    if not as_json:
        table = _table(curation.name, "", ("sample", "all, estimated"))
        sample, all_of_it = found["sample"], found["estimate"]
        table.add_row("shards", f"{found['shards_drawn']:,}", f"{found['shards']:,}")
        table.add_row("input, MiB", _mib(found["bytes_drawn"]), _mib(found["bytes"]))
        table.add_row("documents read", f"{sample['documents']:,}", f"{all_of_it['documents']:,}")
        for measure, count in sample["kept"].items():
            if measure == "bytes":
                table.add_row("text kept, MiB", _mib(count), _mib(all_of_it["kept"][measure]))
            elif count or measure == "documents":  # without a tokenizer no tokens are counted
                table.add_row(f"{measure} kept", f"{count:,}", f"{all_of_it['kept'][measure]:,}")
        times = [duration(3600 * hours) for hours in (sample["core_hours"], all_of_it["core_hours"], found["hours"])]
        table.add_row("time on one core", *times[:2])
        table.add_row(f"time with {found['workers']} workers", "", times[2])
        new_console().print(table)
        click.echo("Duplicates of documents outside the sample were not found; the whole corpus keeps a smaller share.")
    return found


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f}"


def _table(title: str, first: str, others: tuple[str, ...]) -> Table:
    """A table whose first column wraps in a narrow terminal, while the figures do not."""
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    table.add_column(first, overflow="fold")
    for heading in others:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def print_mix(result: dict[str, Any], console: Console) -> None:
    """Print the sources of a mix with their share and epochs."""

    table = _table(result["name"], "source", ("documents", result["unit"], "share", "target", "epochs"))
    for source, row in result["mix"].items():
        counts = (f"{row['documents']:,}", f"{row[result['unit']]:,}")
        table.add_row(source, *counts, f"{row['share']:.1%}", f"{row['target_share']:.1%}", f"{row['epochs']:.2f}")
    console.print(table)
    _print_warnings(result, console)


def print_funnel(result: dict[str, Any], console: Console) -> None:
    """Print the output of every step, and the reasons for which it dropped documents, most documents first."""

    table = _table(result["name"], "", ("documents", "share", "words", "bytes"))
    steps = result["steps"]
    total = max(steps[0]["input"]["documents"], 1) if steps else 1

    def add_row(name: str, sizes: dict[str, int], style: str = "") -> None:
        share = f"{sizes['documents'] / total:.1%}"
        cells = (f"{sizes['documents']:,}", share, f"{sizes['words']:,}", f"{sizes['bytes']:,}")
        table.add_row(name, *cells, style=style)

    for number, step in enumerate(steps):
        if number == 0:
            add_row("read", step["input"])
        add_row(step["step"], step["output"], "bold")
        for reason, dropped in sorted(step["dropped"].items(), key=lambda item: -item[1]["sizes"]["documents"]):
            add_row(f"  - {reason}", dropped["sizes"], "dim")
    console.print(table)


def _print_warnings(result: dict[str, Any], console: Console) -> None:
    for warning in result["warnings"]:
        console.print(f"warning: {warning}", style="yellow", highlight=False)


def _shown_of(result: dict[str, Any], samples: list[dict[str, Any]], count: int) -> str:
    """How many of the dropped documents are shown."""
    counts = [dropped["sizes"]["documents"] for step in result["steps"] for dropped in step["dropped"].values()]
    more = "; --rows shows more" if any(documents > count for documents in counts) else ""
    return f"{len(samples):,} of {sum(counts):,} dropped documents, at most {count:,} per reason{more}"


def show_corpus(target: Path, count: int, html: Path | None, as_json: bool) -> Any:
    """Show the funnel of a curated corpus, and the first `count` dropped documents per step and reason."""
    from rich.text import Text

    from tutelage.corpus.funnel_page import corpus_page, sample_dropped
    from tutelage.corpus.shards import corpus_result
    from tutelage.files import write_text

    result = corpus_result(target)
    if "mix" in result:
        if html is not None:
            raise ValueError(f"{target} is a mix, which has no page; omit --html")
        if not as_json:
            print_mix(result, new_console())
        return result
    samples = sample_dropped(target, count)
    if html is not None:
        write_text(html, corpus_page(result, samples))
        click.echo(f"report (funnel, samples of dropped documents): {html}")
    elif not as_json:
        console = new_console()
        print_funnel(result, console)
        _print_warnings(result, console)
        for row in samples:
            detail = f" ({row['detail']})" if row["detail"] else ""
            console.print(f"\n{row['step']}: {row['reason']}{detail}  {row['id']}", style="bold", markup=False)
            console.print(Text(row["text"][:600]))
        console.print(f"\n{_shown_of(result, samples, count)}", highlight=False)
    return result | {"samples": samples}
