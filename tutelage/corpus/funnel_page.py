"""The HTML page of a finished curation (funnel, lengths, clusters, samples of dropped documents) and its dataset
card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from tutelage.corpus.funnel import StepStats
from tutelage.corpus.shards import RESULT, SUFFIX, corpus_result, read_lines
from tutelage.corpus.working import DROPPED
from tutelage.files import write_text
from tutelage.html import Html, bullets, code, details, facts, heading, page, paragraph, section, table, tag
from tutelage.ledger import Ledger

PAGE, CARD = "index.html", "README.md"
SAMPLES_PER_REASON, CHARACTERS_SHOWN = 10, 3000

_STYLE = """.funnel{display:block;height:.8em;background:currentColor;opacity:.55;border-radius:2px;min-width:1px}
pre.drop{white-space:pre-wrap;max-height:24em;overflow:auto}"""


def write_pages(out: Path) -> None:
    """Write OUT/index.html and OUT/README.md of a finished curation."""
    result = corpus_result(out)
    write_text(out / PAGE, corpus_page(result, sample_dropped(out, SAMPLES_PER_REASON)))
    write_text(out / CARD, dataset_card(result))


def sample_dropped(out: Path, count: int) -> list[dict[str, Any]]:
    """The first `count` dropped documents per step and reason, with truncated texts. Each row has the keys step,
    reason, detail, id, text, characters."""
    rows: list[dict[str, Any]] = []
    for path in sorted((out / DROPPED).rglob(f"*{SUFFIX}")):
        for line in islice(read_lines(path), count):
            row = msgspec.json.decode(line)
            rows.append({**row, "text": row["text"][:CHARACTERS_SHOWN], "characters": len(row["text"])})
    return rows


def corpus_page(result: Mapping[str, Any], samples: Sequence[Mapping[str, Any]]) -> str:
    """The page of a curation, from the content of its curation.json."""
    steps = [StepStats.from_dict(plain) for plain in result["steps"]]
    ledger = Ledger.from_dict(result["read"])
    parts = [
        section("Result", _summary(result, steps)),
        section("Funnel", _funnel(steps), note="Sizes after each step; shares are fractions of the documents read."),
        section("Reading", _reading(ledger)),
        section(
            "Lengths", _lengths(steps), note="Documents by number of words, before the first and after the last step."
        ),
        *(
            [section("Metadata", *fields, note="Metadata that steps added to the kept documents.")]
            if (fields := _metadata(result["metadata"]))
            else []
        ),
        *([section("Duplicate clusters", *clusters)] if (clusters := _clusters(steps)) else []),
        section(
            "Dropped documents",
            *_dropped(steps, samples),
            note=f"The first per reason; the folder {DROPPED} has all of them.",
        ),
        section("Recipe", code(_toml(result["recipe"]))),
    ]
    return page(f"Corpus: {result['name']}", parts, _lead(steps), style=_STYLE)


def _lead(steps: Sequence[StepStats]) -> str:
    if not steps:
        return "The recipe has no steps: all documents were kept."
    read, kept = steps[0].input, steps[-1].output
    share = f" ({kept.documents / read.documents:.1%})" if read.documents else ""
    return f"Kept {kept.documents:,} of {read.documents:,} documents{share}, {kept.words:,} of {read.words:,} words."


def _summary(result: Mapping[str, Any], steps: Sequence[StepStats]) -> Html:
    figures = {"files read": f"{result['input_files']:,}", "seconds": f"{result['seconds']:,.1f}"}
    if steps:
        kept = steps[-1].output
        figures |= {"documents": f"{kept.documents:,}", "words": f"{kept.words:,}", "bytes": f"{kept.bytes:,}"}
        if kept.tokens:
            figures["tokens"] = f"{kept.tokens:,}"
    warnings = bullets(result["warnings"]) if result["warnings"] else paragraph("None.")
    return tag("div", facts(figures), heading("Warnings"), warnings)


def _funnel(steps: Sequence[StepStats]) -> Html:
    if not steps:
        return paragraph("The recipe has no steps.")
    first = steps[0].input
    rows = [_funnel_row("read", "", first, first.documents, "")]
    for stats in steps:
        seconds = f"{stats.seconds:,.2f}"
        rows.append(_funnel_row(stats.step, stats.kind, stats.output, first.documents, seconds))
    header = ("step", "kind", "documents", "share", "", "words", "bytes", "tokens", "worker seconds")
    funnel = table(header, rows, numeric=(2, 3, 5, 6, 7, 8))
    return tag("div", funnel, heading("Dropped and modified"), table(*_changes(steps), numeric=(2, 3)))


def _funnel_row(name: str, kind: str, sizes: Any, first: int, seconds: str) -> list[str | Html]:
    share = sizes.documents / first if first else 0.0
    bar = tag("span", attributes={"class": "funnel", "style": f"width:{share * 12:.2f}em"})
    tokens = f"{sizes.tokens:,}" if sizes.tokens else "–"
    return [
        name,
        kind,
        f"{sizes.documents:,}",
        f"{share:.1%}",
        bar,
        f"{sizes.words:,}",
        f"{sizes.bytes:,}",
        tokens,
        seconds,
    ]


_EXAMPLE = 60  # characters of a sample of what was cut


def _changes(steps: Sequence[StepStats]) -> tuple[list[str], list[list[str]]]:
    rows: list[list[str]] = []
    for stats in steps:
        for reason, dropped in sorted(stats.dropped.items(), key=lambda item: (-item[1].sizes.documents, item[0])):
            sizes = dropped.sizes
            rows.append([stats.step, f"dropped: {reason}", f"{sizes.documents:,}", f"{sizes.words:,} words"])
        for what, modified in sorted(stats.modified.items(), key=lambda item: (-item[1].documents, item[0])):
            change = f"{modified.characters:+,} characters" if modified.characters else ""
            if modified.examples:
                change += f", such as: {' / '.join(example[:_EXAMPLE] for example in modified.examples)}"
            rows.append([stats.step, what, f"{modified.documents:,}", change])
    return ["step", "change", "documents", "amount"], rows


def _reading(ledger: Ledger) -> Html:
    rows = [["records read", f"{ledger.rows_read:,}", ""]]
    for reason, entry in sorted(ledger.dropped.items(), key=lambda item: -item[1].rows):
        rows.append([f"not read: {reason}", f"{entry.rows:,}", ", ".join(entry.examples)])
    for what, note in sorted(ledger.noted.items(), key=lambda item: -item[1].rows):
        rows.append([f"note: {what}", f"{note.rows:,}", ", ".join(note.examples)])
    return table(["", "records", "first examples"], [*rows, ["documents", f"{ledger.rows_out:,}", ""]], numeric=(1,))


def _lengths(steps: Sequence[StepStats]) -> Html:
    if not steps:
        return paragraph("The recipe has no steps.")
    read, kept = steps[0].input_lengths, steps[-1].output_lengths
    largest = max(*read, 1)
    used = [bin for bin, count in enumerate(read) if count or kept[bin]]
    rows: list[list[str | Html]] = []
    for bin in range(used[0], used[-1] + 1) if used else ():
        words = "0" if not bin else "1" if bin == 1 else f"{1 << (bin - 1):,} to {(1 << bin) - 1:,}"
        bars = [
            tag("span", attributes={"class": "funnel", "style": f"width:{n / largest * 12:.2f}em"})
            for n in (read[bin], kept[bin])
        ]
        rows.append([words, f"{read[bin]:,}", bars[0], f"{kept[bin]:,}", bars[1]])
    return table(["words", "read", "", "kept", ""], rows, numeric=(1, 3))


def _metadata(rows: Sequence[Mapping[str, Any]]) -> list[Html]:
    parts: list[Html] = []
    for row in rows:
        parts.append(heading(f"{row['field']} ({row['documents']:,} documents)"))
        if quantiles := row.get("quantiles"):
            parts.append(facts({share: f"{value:g}" for share, value in quantiles.items()}))
        if values := row["values"]:
            shares = [[value, f"{n:,}", f"{n / row['documents']:.1%}"] for value, n in values.items()]
            parts.append(table(["value", "documents", "share"], shares, numeric=(1, 2)))
    return parts


def _clusters(steps: Sequence[StepStats]) -> list[Html]:
    parts: list[Html] = []
    for stats in steps:
        if not stats.details:
            continue
        counts = {
            name.replace("_", " "): f"{value:,}" for name, value in stats.details.items() if isinstance(value, int)
        }
        parts += [heading(stats.step), facts(counts)]
        if sizes := stats.details.get("cluster_sizes"):
            parts.append(table(["documents per cluster", "clusters"], [[k, f"{v:,}"] for k, v in sizes.items()], (1,)))
        for cluster in stats.details.get("clusters", []):
            members = (tag("div", code(row["id"] or "–"), _text(row["text"])) for row in cluster["members"])
            parts.append(details(f"{cluster['size']:,} copies", *members))
    return parts


def _text(text: str) -> Html:
    return tag("pre", text, attributes={"class": "drop", "tabindex": "0"})


def _dropped(steps: Sequence[StepStats], samples: Sequence[Mapping[str, Any]]) -> list[Html]:
    parts: list[Html] = []
    for stats in steps:
        of_step = [row for row in samples if row["step"] == stats.step]
        if of_step:
            parts.append(heading(stats.step))
        for reason in dict.fromkeys(row["reason"] for row in of_step):
            rows = [row for row in of_step if row["reason"] == reason]
            count = stats.dropped[reason].sizes.documents if reason in stats.dropped else len(rows)
            shown = (tag("div", tag("p", code(r["id"] or "–"), f" {r['detail']}"), _text(r["text"])) for r in rows)
            parts.append(details(f"{reason}: {count:,}", *shown))
    return parts or [paragraph("Nothing was dropped.")]


def _toml(recipe: Mapping[str, Any]) -> str:
    lines = [f"{name} = {_value(value)}" for name, value in recipe.items() if name != "steps" and value is not None]
    lines += ["", "[steps]"]
    for name, settings in recipe["steps"].items():
        inner = ", ".join(f"{key} = {_value(value)}" for key, value in settings.items() if value is not None)
        lines.append(f"{name} = {{ {inner} }}")
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    """Plain data as inline TOML."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return msgspec.json.encode(value).decode()


def dataset_card(result: Mapping[str, Any]) -> str:
    """A README with the source of the corpus, its steps, and what was dropped."""
    steps = [StepStats.from_dict(plain) for plain in result["steps"]]
    lines = [f"# {result['name']}", "", _lead(steps), ""]
    parquet = result["recipe"]["output"] == "parquet"
    what = "row of the files `*.parquet`" if parquet else "line of the files `*.jsonl.zst`"
    lines += [f"Made by `tutelage curate` with the recipe below. Each {what} is a document:"]
    scores = ", `scores` (numeric metadata that steps added)" if parquet else ""
    lines += [f"`id`, `text`, `meta` (metadata of its source), `facts` (metadata that steps added){scores}.", ""]
    lines += ["| step | kind | documents | words | dropped |", "|---|---|---:|---:|---|"]
    for stats in steps:
        reasons = "; ".join(
            f"{reason}: {dropped.sizes.documents:,}"
            for reason, dropped in sorted(stats.dropped.items(), key=lambda item: -item[1].sizes.documents)
        )
        kept = stats.output
        lines.append(f"| {stats.step} | {stats.kind} | {kept.documents:,} | {kept.words:,} | {reasons} |")
    unread = sum(entry["rows"] for entry in result["read"]["dropped"].values())
    lines += ["", f"Read from {result['input_files']:,} files; {unread:,} records could not be read.", ""]
    lines += [f"- {warning}" for warning in result["warnings"]]
    lines += _grounds(result["recipe"].get("grounds") or {})
    lines += ["", "## Limits", ""]
    lines += ["The texts belong to their authors. This card does not settle whether and for what they may be used."]
    lines += ["Personal data were masked and harmful text was removed only as far as the steps above do so."]
    lines += ["", "## Recipe", "", "```toml", _toml(result["recipe"]).rstrip(), "```", ""]
    lines += [f"All statistics are in `{RESULT}`; dropped documents are in `{DROPPED}/`, by step and reason.", ""]
    return "\n".join(lines)


def _grounds(grounds: Mapping[str, str]) -> list[str]:
    """The section of the card on why the texts may be used, by source."""
    lines = ["", "## Legal ground", ""]
    if not grounds:
        return [*lines, "None was stated in the recipe (`grounds`)."]
    return [*lines, *(f"- {source}: {ground}" for source, ground in grounds.items())]
