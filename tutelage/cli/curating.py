"""The curate verb, and what look shows of a curated corpus."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def curate_recipe(recipe: Path, settings: tuple[str, ...], as_json: bool) -> Any:
    """Run a curation recipe, write its pages, and show its funnel; or mix corpora, where the recipe has [sources]."""
    from rich.console import Console

    from tutelage.config import read_toml
    from tutelage.corpus.curation import load_curation
    from tutelage.corpus.funnel_page import CARD, PAGE, write_pages
    from tutelage.corpus.pipeline import curate

    given = [setting.removeprefix("out=") for setting in settings if setting.startswith("out=")]
    if "" in given:
        raise ValueError("out= names no folder; write out=DIR, as in out=corpus")
    overrides = [setting for setting in settings if not setting.startswith("out=")]
    if "sources" in read_toml(recipe):
        return _mix(recipe, overrides, given, as_json)
    curation = load_curation(recipe, overrides)
    out = _folder(given, curation.name)
    result = curate(curation, out)
    write_pages(out)
    if not as_json:
        print_funnel(result, Console())
        click.echo(f"the funnel and samples of drops, for a browser: {out / PAGE}")
        click.echo(f"what the corpus is: {out / CARD}")
    return result


def _folder(given: list[str], name: str) -> Path:
    return Path(given[-1]) if given else Path("corpora") / name


def _mix(path: Path, overrides: list[str], given: list[str], as_json: bool) -> Any:
    from rich.console import Console

    from tutelage.corpus.mix import load_mix, mix

    recipe = load_mix(path, overrides)
    results = mix(recipe, _folder(given, recipe.name))
    if not as_json:
        for result in results.values():
            print_mix(result, Console())
    return results


def _table(title: str, first: str, others: tuple[str, ...]) -> Table:
    """Names, which wrap in a narrow terminal, and figures, which stand whole."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), title_justify="left")
    table.add_column(first, overflow="fold")
    for heading in others:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def print_mix(result: dict[str, Any], console: Console) -> None:
    """Every source of a mix: what share it has, and how often it was gone over."""
    from rich.markup import escape

    table = _table(result["name"], "source", ("documents", result["unit"], "share", "wanted", "epochs"))
    for source, row in result["mix"].items():
        counts = (f"{row['documents']:,}", f"{row[result['unit']]:,}")
        table.add_row(
            escape(source), *counts, f"{row['share']:.1%}", f"{row['share_wanted']:.1%}", f"{row['epochs']:.2f}"
        )
    console.print(table)
    for warning in result["warnings"]:
        console.print(f"look here: {warning}", style="yellow", highlight=False)


def print_funnel(result: dict[str, Any], console: Console) -> None:
    """Every step with what came and what left, and the reasons; most documents first."""
    from rich.markup import escape

    table = _table(result["name"], "", ("documents", "share", "words", "bytes"))
    first = max(result["accounts"][0]["read"]["documents"], 1) if result["accounts"] else 1

    def line(name: str, sizes: dict[str, int], style: str = "") -> None:
        share = f"{sizes['documents'] / first:.1%}"
        cells = (f"{sizes['documents']:,}", share, f"{sizes['words']:,}", f"{sizes['bytes']:,}")
        table.add_row(escape(name), *cells, style=style)

    for number, account in enumerate(result["accounts"]):
        if number == 0:
            line("read", account["read"])
        line(account["step"], account["out"], "bold")
        for reason, dropped in sorted(account["dropped"].items(), key=lambda one: -one[1]["sizes"]["documents"]):
            line(f"  - {reason}", dropped["sizes"], "dim")
    console.print(table)


def _shown_of(result: dict[str, Any], samples: list[dict[str, Any]], count: int) -> str:
    """How many of the dropped documents are shown."""
    every = [one["sizes"]["documents"] for account in result["accounts"] for one in account["dropped"].values()]
    more = "; --rows shows more" if any(documents > count for documents in every) else ""
    return f"{len(samples):,} of {sum(every):,} dropped documents, at most {count:,} for each reason{more}"


def look_at_corpus(target: Path, count: int, html: Path | None, as_json: bool) -> Any:
    """The funnel of a curated corpus, and the first `count` drops of every step and reason."""
    from rich.console import Console
    from rich.text import Text

    from tutelage.corpus.funnel_page import corpus_page, sample_drops
    from tutelage.corpus.shards import corpus_result
    from tutelage.files import write_text

    result = corpus_result(target)
    if "mix" in result:
        if html is not None:
            raise ValueError(f"{target} is a mix, of which there is no page; look at it without --html")
        if not as_json:
            print_mix(result, Console())
        return result
    samples = sample_drops(target, count)
    if html is not None:
        write_text(html, corpus_page(result, samples))
        click.echo(f"the funnel and samples of drops, for a browser: {html}")
    elif not as_json:
        console = Console()
        print_funnel(result, console)
        for warning in result["warnings"]:
            console.print(f"look here: {warning}", style="yellow", highlight=False)
        for row in samples:
            detail = f" ({row['detail']})" if row["detail"] else ""
            console.print(f"\n{row['step']}: {row['reason']}{detail}  {row['id']}", style="bold", markup=False)
            console.print(Text(row["text"][:600]))
        console.print(f"\n{_shown_of(result, samples, count)}", highlight=False)
    return result | {"samples": samples}
