"""A finished curation to look at: the funnel, lengths, clusters, a sample of what each step dropped; a dataset card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from tutelage.corpus.funnel import Account
from tutelage.corpus.shards import RESULT, SUFFIX, corpus_result, read_lines
from tutelage.corpus.working import DROPPED
from tutelage.files import write_text
from tutelage.html import Html, bullets, code, details, facts, heading, page, paragraph, section, table, tag
from tutelage.ledger import Ledger

PAGE, CARD = "index.html", "README.md"
SAMPLES_A_REASON, CHARACTERS_SHOWN = 10, 3000

_STYLE = """.funnel{display:block;height:.8em;background:currentColor;opacity:.55;border-radius:2px;min-width:1px}
pre.drop{white-space:pre-wrap;max-height:24em;overflow:auto}"""


def write_pages(out: Path) -> None:
    """Writes OUT/index.html and OUT/README.md of a finished curation."""
    result = corpus_result(out)
    write_text(out / PAGE, corpus_page(result, sample_drops(out, SAMPLES_A_REASON)))
    write_text(out / CARD, dataset_card(result))


def sample_drops(out: Path, count: int) -> list[dict[str, Any]]:
    """The first `count` drops of each step and reason, their texts cut: tables with step, reason, detail, id, text."""
    rows: list[dict[str, Any]] = []
    for path in sorted((out / DROPPED).rglob(f"*{SUFFIX}")):
        for line in islice(read_lines(path), count):
            row = msgspec.json.decode(line)
            rows.append({**row, "text": row["text"][:CHARACTERS_SHOWN], "characters": len(row["text"])})
    return rows


def corpus_page(result: Mapping[str, Any], samples: Sequence[Mapping[str, Any]]) -> str:
    """The page of a curation, from the content of its curation.json."""
    accounts = [Account.from_dict(one) for one in result["accounts"]]
    ledger = Ledger.from_dict(result["read"])
    parts = [
        section("Outcome", _outcome(result, accounts)),
        section("Funnel", _funnel(accounts), note="Sizes are of what leaves each step; shares are of what was read."),
        section("Reading", _reading(ledger)),
        section("Lengths", _lengths(accounts), note="Documents by their number of words, as read and at the end."),
        *(
            [section("Facts", *found, note="What steps found out about the documents kept.")]
            if (found := _facts(result["facts"]))
            else []
        ),
        *([section("Clusters", *clusters)] if (clusters := _clusters(accounts)) else []),
        section(
            "Drops", *_drops(accounts, samples), note="The first of every reason; all stand in the folder dropped."
        ),
        section("Recipe", code(_toml(result["curation"]))),
    ]
    return page(f"Corpus: {result['name']}", parts, _lead(accounts), style=_STYLE)


def _lead(accounts: Sequence[Account]) -> str:
    if not accounts:
        return "The recipe has no steps: what was read was kept."
    came, left = accounts[0].read, accounts[-1].out
    share = f" ({left.documents / came.documents:.1%})" if came.documents else ""
    return (
        f"Of {came.documents:,} documents {left.documents:,}{share} were kept, {left.words:,} of {came.words:,} words."
    )


def _outcome(result: Mapping[str, Any], accounts: Sequence[Account]) -> Html:
    figures = {"files read": f"{result['inputs']:,}", "seconds": f"{result['seconds']:,.1f}"}
    if accounts:
        left = accounts[-1].out
        figures |= {"documents": f"{left.documents:,}", "words": f"{left.words:,}", "bytes": f"{left.bytes:,}"}
        if left.tokens:
            figures["tokens"] = f"{left.tokens:,}"
    warnings = bullets(result["warnings"]) if result["warnings"] else paragraph("Nothing stands out.")
    return tag("div", facts(figures), heading("Look here"), warnings)


def _funnel(accounts: Sequence[Account]) -> Html:
    if not accounts:
        return paragraph("There are no steps.")
    first = accounts[0].read
    rows = [_funnel_row("read", "", first, first.documents, "")]
    for account in accounts:
        seconds = f"{account.seconds:,.2f}"
        rows.append(_funnel_row(account.step, account.kind, account.out, first.documents, seconds))
    header = ("step", "kind", "documents", "share", "", "words", "bytes", "tokens", "seconds of work")
    whole = table(header, rows, numeric=(2, 3, 5, 6, 7, 8))
    return tag("div", whole, heading("What was done"), table(*_deeds(accounts), numeric=(2, 3)))


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


def _deeds(accounts: Sequence[Account]) -> tuple[list[str], list[list[str]]]:
    rows: list[list[str]] = []
    for account in accounts:
        for reason, dropped in sorted(account.dropped.items(), key=lambda one: (-one[1].sizes.documents, one[0])):
            sizes = dropped.sizes
            rows.append([account.step, f"dropped: {reason}", f"{sizes.documents:,}", f"{sizes.words:,} words"])
        for what, noted in sorted(account.noted.items(), key=lambda one: (-one[1].documents, one[0])):
            change = f"{noted.characters:+,} characters" if noted.characters else ""
            rows.append([account.step, what, f"{noted.documents:,}", change])
    return ["step", "what", "documents", "amount"], rows


def _reading(ledger: Ledger) -> Html:
    rows = [["records read", f"{ledger.rows_read:,}", ""]]
    for reason, entry in sorted(ledger.dropped.items(), key=lambda one: -one[1].rows):
        rows.append([f"not read: {reason}", f"{entry.rows:,}", ", ".join(entry.examples)])
    for what, note in sorted(ledger.noted.items(), key=lambda one: -one[1].rows):
        rows.append([f"noted: {what}", f"{note.rows:,}", ", ".join(note.examples)])
    return table(["", "records", "first at"], [*rows, ["documents", f"{ledger.rows_out:,}", ""]], numeric=(1,))


def _lengths(accounts: Sequence[Account]) -> Html:
    if not accounts:
        return paragraph("There are no steps.")
    came, left = accounts[0].lengths_in, accounts[-1].lengths_out
    most = max(*came, 1)
    used = [bin for bin, count in enumerate(came) if count or left[bin]]
    rows: list[list[str | Html]] = []
    for bin in range(used[0], used[-1] + 1) if used else ():
        words = "0" if not bin else "1" if bin == 1 else f"{1 << (bin - 1):,} to {(1 << bin) - 1:,}"
        bars = [
            tag("span", attributes={"class": "funnel", "style": f"width:{n / most * 12:.2f}em"})
            for n in (came[bin], left[bin])
        ]
        rows.append([words, f"{came[bin]:,}", bars[0], f"{left[bin]:,}", bars[1]])
    return table(["words", "read", "", "kept", ""], rows, numeric=(1, 3))


def _facts(rows: Sequence[Mapping[str, Any]]) -> list[Html]:
    parts: list[Html] = []
    for row in rows:
        parts.append(heading(f"{row['fact']}, of {row['documents']:,} documents"))
        if quantiles := row.get("quantiles"):
            parts.append(facts({share: f"{value:g}" for share, value in quantiles.items()}))
        if values := row["values"]:
            shares = [[value, f"{n:,}", f"{n / row['documents']:.1%}"] for value, n in values.items()]
            parts.append(table(["value", "documents", "share"], shares, numeric=(1, 2)))
    return parts


def _clusters(accounts: Sequence[Account]) -> list[Html]:
    parts: list[Html] = []
    for account in accounts:
        figures = account.figures
        if not figures:
            continue
        plain = {name: f"{value:,}" for name, value in figures.items() if isinstance(value, int)}
        parts += [heading(account.step), facts(plain)]
        if sizes := figures.get("cluster_sizes"):
            parts.append(table(["documents in a cluster", "clusters"], [[k, f"{v:,}"] for k, v in sizes.items()], (1,)))
        for cluster in figures.get("clusters", []):
            members = (tag("div", code(one["id"] or "–"), _text(one["text"])) for one in cluster["members"])
            parts.append(details(f"stands there {cluster['size']:,} times", *members))
    return parts


def _text(text: str) -> Html:
    return tag("pre", text, attributes={"class": "drop", "tabindex": "0"})


def _drops(accounts: Sequence[Account], samples: Sequence[Mapping[str, Any]]) -> list[Html]:
    parts: list[Html] = []
    for account in accounts:
        mine = [row for row in samples if row["step"] == account.step]
        if mine:
            parts.append(heading(account.step))
        for reason in dict.fromkeys(row["reason"] for row in mine):
            rows = [row for row in mine if row["reason"] == reason]
            count = account.dropped[reason].sizes.documents if reason in account.dropped else len(rows)
            shown = (tag("div", tag("p", code(r["id"] or "–"), f" {r['detail']}"), _text(r["text"])) for r in rows)
            parts.append(details(f"{reason}: {count:,}", *shown))
    return parts or [paragraph("Nothing was dropped.")]


def _toml(curation: Mapping[str, Any]) -> str:
    lines = [f"{name} = {_value(value)}" for name, value in curation.items() if name != "steps" and value is not None]
    lines += ["", "[steps]"]
    for name, settings in curation["steps"].items():
        inner = ", ".join(f"{key} = {_value(value)}" for key, value in settings.items() if value is not None)
        lines.append(f"{name} = {{ {inner} }}")
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    """Plain data as TOML writes it in a line."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return msgspec.json.encode(value).decode()


def dataset_card(result: Mapping[str, Any]) -> str:
    """A README that says what the corpus is made of, how, and what was left out."""
    accounts = [Account.from_dict(one) for one in result["accounts"]]
    lines = [f"# {result['name']}", "", _lead(accounts), ""]
    parquet = result["curation"]["output"] == "parquet"
    what = "row of the files `*.parquet`" if parquet else "line of the files `*.jsonl.zst`"
    lines += [f"Made by `tutelage curate` with the recipe below. Each {what} is a document:"]
    scores = ", `scores` (of that, the numbers)" if parquet else ""
    lines += [f"`id`, `text`, `meta` (what its source says of it), `facts` (what was found out about it){scores}.", ""]
    lines += ["| step | kind | documents | words | dropped |", "|---|---|---:|---:|---|"]
    for account in accounts:
        reasons = "; ".join(
            f"{reason}: {dropped.sizes.documents:,}"
            for reason, dropped in sorted(account.dropped.items(), key=lambda one: -one[1].sizes.documents)
        )
        left = account.out
        lines.append(f"| {account.step} | {account.kind} | {left.documents:,} | {left.words:,} | {reasons} |")
    ledger = result["read"]
    unread = sum(entry["rows"] for entry in ledger["dropped"].values())
    lines += ["", f"Read from {result['inputs']:,} files; {unread:,} records of them were not taken.", ""]
    lines += [f"- {warning}" for warning in result["warnings"]]
    lines += ["", "## What it is not", ""]
    lines += ["The texts belong to their authors. Whether they may be used, and for what, is not settled by this card;"]
    lines += [
        "masking of personal data and removal of harmful text went as far as the steps above say, and no further."
    ]
    lines += ["", "## Recipe", "", "```toml", _toml(result["curation"]).rstrip(), "```", ""]
    lines += [f"Every figure stands in `{RESULT}`; what was dropped, by step and reason, in `{DROPPED}/`.", ""]
    return "\n".join(lines)
