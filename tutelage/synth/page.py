"""A synthesis as one HTML page: funnel, diversity, cost, samples of what was kept and of what was dropped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from tutelage.config import to_toml
from tutelage.html import Html, code, details, facts, heading, page, paragraph, section, table, tag
from tutelage.ledger import Ledger
from tutelage.synth.gate import conversations_of
from tutelage.synth.output import DATA, DROPPED, read_lines
from tutelage.synth.tool_turns import turn_text

PAGE = "index.html"
KEPT_SHOWN, DROPPED_SHOWN, CHARACTERS = 12, 4, 1500
_STYLE = """.funnel{display:block;height:.8em;background:currentColor;opacity:.55;border-radius:2px;min-width:1px}
.turn{white-space:pre-wrap;overflow-wrap:anywhere;margin:.2em 0}.role{opacity:.65;font-size:.85em}"""
_DIVERSITY = {
    "rows": "rows",
    "words": "mean words",
    "distinct_1": "distinct words",
    "distinct_2": "distinct 2-grams",
    "distinct_3": "distinct 3-grams",
    "alike": "resemble an earlier row",
    "openings": "different openings",
    "opening_entropy": "entropy of openings, bits",
}


def synth_page(out: Path, summary: Mapping[str, Any]) -> str:
    """The page of a synthesis, from the content of its synth.json and from its rows."""
    steps = summary["steps"]
    made, items = steps[-1]["made"], steps[0]["items"]
    parts = [
        section("Result", _result(summary)),
        section(
            "Funnel", _funnel(steps), note="Of every step: items that were asked about, and rows of their replies."
        ),
        section("Diversity", _diversity(steps), note="Of the kept rows' answers; openings are the first three words."),
        section("Cost", _cost(summary), note="Of all runs in this folder, by purpose; cached answers count once."),
        section("Kept", *_kept(out), note=f"The first {KEPT_SHOWN}; {DATA} has all of them, with their lineage."),
        section("Dropped", *_dropped(out), note=f"The first of each reason; {DROPPED} has all of them."),
        section("Recipe", details("settings", code(to_toml(summary["recipe"])))),
    ]
    lead = f"Kept {summary['rows']:,} of {made:,} rows, made of {items:,} items by {summary['models']['teacher']}."
    lead += "" if summary["done"] else " Not finished: run the same command to go on."
    return page(f"Synthesis: {summary['name']}", parts, lead, style=_STYLE)


def _result(summary: Mapping[str, Any]) -> Html:
    usage = Counter[str]()
    for counts in summary["usage"].values():
        usage.update(counts)
    figures = {
        "rows": f"{summary['rows']:,}",
        "requests, this run": f"{usage['requests']:,}",
        "retries": f"{usage['retries']:,}",
        "cached answers": f"{usage['cached']:,}",
        "seconds": f"{summary['seconds']:,.1f}",
        "cost, this run": f"{summary['cost']:,.4f}" if summary["cost"] else "no prices given",
    }
    models = ", ".join(f"{role}: {model}" for role, model in summary["models"].items())
    return tag("div", facts(figures), paragraph(models, muted=True))


def _funnel(steps: Sequence[Mapping[str, Any]]) -> Html:
    parts: list[Html] = []
    for step in steps:
        for plain in step["ledgers"]:
            ledger = Ledger.from_dict(plain)
            rows: list[list[str | Html]] = []
            for label, count, share, *_ in ledger.lines():
                part = min(count / ledger.rows_read, 1.0) if ledger.rows_read else 0.0
                rows.append([label, f"{count:,}", share, _bar(part) if share or label == "read" else ""])
            parts += [heading(ledger.step), table(("", "rows", "share", ""), rows, numeric=(1, 2))]
    return tag("div", *parts)


def _bar(share: float) -> Html:
    return tag("span", attributes={"class": "funnel", "style": f"width:{share * 10:.2f}em"})


def _diversity(steps: Sequence[Mapping[str, Any]]) -> Html:
    header = ("", *(step["step"] for step in steps))
    rows = [
        [label, *(_figure(name, step["diversity"].get(name)) for step in steps)] for name, label in _DIVERSITY.items()
    ]
    openings = [[words, f"{count:,}"] for words, count in steps[-1]["diversity"].get("top_openings", {}).items()]
    shown = [heading("Most frequent openings"), table(("", "rows"), openings, numeric=(1,))] if openings else []
    return tag("div", table(header, rows, numeric=range(1, len(header))), *shown)


def _figure(name: str, value: float | None) -> str:
    if value is None:
        return "–"
    if name in ("rows", "openings"):
        return f"{value:,}"
    return f"{value:.1f}" if name in ("words", "opening_entropy") else f"{value:.1%}"


def _cost(summary: Mapping[str, Any]) -> Html:
    rows = [
        [step["step"], purpose, *(f"{count:,}" for count in counts), f"{counts[2] / max(counts[0], 1):,.0f}"]
        for step in summary["steps"]
        for purpose, counts in step["tokens"].items()
    ]
    header = ("step", "purpose", "replies", "prompt tokens", "completion tokens", "tokens a reply")
    return table(header, rows, numeric=(2, 3, 4, 5))


def _kept(out: Path) -> list[Html]:
    shown = [_row(row) for row in islice(read_lines(out / DATA), KEPT_SHOWN)]
    return shown or [paragraph("No row was kept.")]


def _dropped(out: Path) -> list[Html]:
    by_reason: dict[str, list[Html]] = {}
    counts = Counter[str]()
    for row in read_lines(out / DROPPED):
        counts[row["reason"]] += 1
        if counts[row["reason"]] <= DROPPED_SHOWN:
            by_reason.setdefault(row["reason"], []).append(_dropped_row(row))
    return [details(f"{reason}: {count:,}", *by_reason[reason]) for reason, count in counts.most_common()] or [
        paragraph("No row was dropped.")
    ]


def _dropped_row(row: Mapping[str, Any]) -> Html:
    shown = [_text("raw", row["raw"])] if row["raw"] else []
    made = row.get("row") or {}
    return tag("div", heading(row["id"]), *shown, *([_row(made)] if len(made) > 1 else []))


def _row(row: Mapping[str, Any]) -> Html:
    turns = [_text(turn["role"], turn_text(turn)) for talk in conversations_of(dict(row)) for turn in talk]
    lineage = row.get("lineage", {})
    small = f"{row.get('id', '')}, of {lineage.get('parent') or 'nothing'}, {lineage.get('finish', '')}"
    return tag("div", paragraph(small, muted=True), *turns)


def _text(role: str, text: str) -> Html:
    shown = text if len(text) <= CHARACTERS else f"{text[:CHARACTERS]}… ({len(text):,} characters)"
    return tag("p", tag("span", f"{role}: ", attributes={"class": "role"}), shown, attributes={"class": "turn"})
