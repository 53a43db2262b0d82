"""Items of benchmarks as an HTML page: scores, and the right answer beside what the model made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tutelage.evaluate.benchmarks.examined import BESIDE
from tutelage.evaluate.benchmarks.measured import RESULTS
from tutelage.evaluate.item_results import OUTCOMES, ItemResult, read_items
from tutelage.evaluate.statistics import Rate
from tutelage.files import read_json, write_text
from tutelage.html import Html, badge, columns, details, heading, page, paragraph, section, table, tag
from tutelage.report.labels import format_ci, format_pct

PAGE = "index.html"
SHOWN = 100  # items of an outcome
CHARACTERS = 6000  # of a text


def write_benchmarks_page(folder: Path, names: Sequence[str], beside: Path | None = None) -> Path:
    """Write FOLDER/index.html from the results of the named benchmarks in it. `beside` is the folder of another model's
    results, whose answers are shown next to these.

    Raises:
        DiskError: a file cannot be read or written.
        ValueError: a file is broken; or `beside` has no results of a benchmark.
    """
    results = {name: read_json(folder / name / RESULTS) for name in names}
    others: dict[str, Mapping[str, ItemResult]] = {}
    if beside is not None:
        for name in names:
            if not (beside / name / RESULTS).exists():
                raise ValueError(f"{beside} has no results of {name}; run that benchmark for the other model first")
            others[name] = {item.id: item for item in read_items(beside / name)}
    hidden = {name: read_json(path) for name in names if (path := folder / name / BESIDE).exists()}
    note = (
        "With 95% intervals. How it was asked is a part of a score. A score is grey where its range over prompt "
        "formats was not measured (--formats)."
    )
    parts = [section("Scores", _scores(results, hidden), note=note)]
    for name, result in results.items():
        parts.append(_benchmark(result, read_items(folder / name), others.get(name)))
    model = next((result["model"] for result in results.values()), folder.name)
    write_text(folder / PAGE, page(f"Benchmarks: {model}", parts, style=STYLE))
    return folder / PAGE


STYLE = """
.item { border-top: 1px solid var(--line, #8884); padding: .6rem 0; }
.item pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: .3rem 0; max-height: 24rem; overflow: auto; }
"""


def _scores(results: Mapping[str, Any], hidden: Mapping[str, Mapping[str, Any]]) -> Html:
    """A row for each benchmark: its headline, what it may hide, and what stands beside it."""
    rows: list[tuple[Html | str, ...]] = []
    for name, result in results.items():
        rates = {name: Rate(**value) for name, value in result["rates"].items()}
        head = rates.pop(result["headline"], None)
        beside = "; ".join(f"{other} {format_pct(rate.rate)}" for other, rate in rates.items())
        ranged, dirty = (hidden.get(name, {}).get(key) for key in ("format_range", "contamination"))
        if head is not None:
            share: Html | str = format_pct(head.rate)
            share = share if ranged else tag("span", share, attributes={"class": "note"})
            figures = (share, format_ci(head), f"{head.count:,}")
            parts = _range(ranged), _contamination(dirty, result["headline"])
            rows.append((result["title"], result["headline"], *figures, *parts, beside))
    header = ("benchmark", "rate", "share", "95% interval", "of", "over formats", "contamination", "beside it")
    return table(header, rows, numeric=(2, 4))


def _range(ranged: Mapping[str, Any] | None) -> str:
    if not ranged:
        return "not measured"
    return f"{format_pct(ranged['low'])} to {format_pct(ranged['high'])}, median {format_pct(ranged['median'])}"


def _contamination(found: Mapping[str, Any] | None, metric: str) -> str:
    """The headline on the clean and on the dirty part."""
    if not found:
        return "not checked"
    parts = found["rates"].get(metric, {})
    shown = [f"{name} {format_pct(of['rate'])} of {of['count']:,}" for name, of in parts.items()]
    return "; ".join(shown) or "too few words to tell"


def _benchmark(result: Mapping[str, Any], items: Sequence[ItemResult], other: Mapping[str, ItemResult] | None) -> Html:
    asked = f"{len(items):,} of {result['total']:,} items; {result['format']}; {', '.join(result['files'][:3])}"
    blocks: list[Html] = []
    order = [*(outcome for outcome in OUTCOMES if outcome != "right"), "right"]
    for outcome in order:
        own = [item for item in items if item.outcome == outcome]
        if own:
            left = len(own) - SHOWN
            more = paragraph(f"{left:,} more are in items.jsonl.", muted=True) if left > 0 else None
            shown = [_item(item, None if other is None else other.get(item.id)) for item in own[:SHOWN]]
            blocks.append(details(f"{outcome}: {len(own):,}", *shown, *([more] if more else [])))
    groups = result["figures"].get("groups")
    if groups:
        counts = result["figures"]["group_counts"]
        rows = [(name, format_pct(value), f"{counts[name]:,}") for name, value in groups.items()]
        blocks.append(details(f"by group: {len(groups)}", table(("group", "share", "of"), rows, numeric=(1, 2))))
    return section(str(result["title"]), *blocks, note=asked)


def _item(item: ItemResult, other: ItemResult | None) -> Html:
    title = f"{item.id} ({item.group})" if item.group else item.id
    cells = [tag("div", heading("Right"), _text(item.gold)), _answer("Model", item)]
    if other is not None:
        cells.append(_answer("Beside", other))
    prompt = details("prompt", _text(item.prompt))
    return tag("div", paragraph(tag("strong", title)), prompt, columns(*cells), attributes={"class": "item"})


def _answer(title: str, item: ItemResult) -> Html:
    good = item.outcome == "right"
    mark = badge(item.outcome, "good" if good else "bad" if item.outcome == "wrong" else "warn")
    read = next((sample.extracted for sample in item.samples if sample.extracted), "")
    return tag(
        "div",
        heading(title),
        paragraph(mark),
        _text(item.output),
        paragraph(f"read: {read[:200]}", muted=True) if read else None,
        details(f"{len(item.samples)} samples", *(_text(sample.text) for sample in item.samples))
        if len(item.samples) > 1
        else None,
    )


def _text(text: str) -> Html:
    cut = text if len(text) <= CHARACTERS else f"{text[:CHARACTERS]} ... ({len(text):,} characters)"
    return tag("pre", cut)
