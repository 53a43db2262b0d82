"""What became of every row of the data, and what the training cost."""

from __future__ import annotations

from collections.abc import Sequence

from tutelage.html import Html, badge, paragraph, section, table
from tutelage.ledger import Ledger
from tutelage.progress import duration
from tutelage.report.read import Finished
from tutelage.report.words import memory, share


def ledgers(stages: Sequence[Finished]) -> Html | None:
    """The ledger of every source of every stage; None where there is none."""
    accounts = [(stage.name, source, ledger) for stage in stages for source, ledger in stage.info.ledgers.items()]
    if not accounts:
        return None
    rows = [row for stage, source, ledger in accounts for row in _account(stage, source, ledger)]
    wrong = [sentence for *_, ledger in accounts if (sentence := _mistake(ledger))]
    verdict = badge("some do not add up", "bad") if wrong else badge("every account adds up", "good")
    return section(
        "Ledger",
        paragraph("What was read is what was kept plus what was dropped, for each reason. ", verdict),
        *(paragraph(f"{sentence}.") for sentence in wrong),
        table(["stage", "source", "rows that were", "rows", "", "tokens", "first seen at"], rows, numeric=(3, 4, 5)),
    )


def _mistake(ledger: Ledger) -> str:
    try:
        ledger.check()
    except AssertionError as error:
        return str(error)
    return ""


def _account(stage: str, source: str, ledger: Ledger) -> list[list[str | Html]]:
    """The lines of one ledger; only the first names its stage and source."""
    dropped = sorted(ledger.dropped.items(), key=lambda item: (-item[1].rows, item[0]))
    lines = [
        ("read", ledger.rows_read, ledger.tokens_read, ""),
        *((f"dropped: {reason}", one.rows, one.tokens, ", ".join(one.examples)) for reason, one in dropped),
        ("kept", ledger.rows_kept, ledger.tokens_kept, ""),
    ]
    if (ledger.rows_out, ledger.tokens_out) != (ledger.rows_kept, ledger.tokens_kept):
        lines.append(("out, after splitting", ledger.rows_out, ledger.tokens_out, ""))
    noted = sorted(ledger.noted.items(), key=lambda item: (-item[1].rows, item[0]))
    lines += [(f"noted: {what}", one.rows, 0, ", ".join(one.examples)) for what, one in noted]
    return [
        [
            *((stage, source) if number == 0 else ("", "")),
            fate,
            f"{rows:,}",
            share(rows / ledger.rows_read) if 0 < number <= len(dropped) + 1 and ledger.rows_read else "",
            f"{tokens:,}",
            places,
        ]
        for number, (fate, rows, tokens, places) in enumerate(lines)
    ]


def costs(stages: Sequence[Finished]) -> Html | None:
    """What each stage took; None where nothing was trained."""
    if not stages:
        return None
    rows = [
        [
            stage.name,
            f"{info.parameters:,}",
            f"{info.steps:,}",
            f"{info.tokens:,}",
            f"{info.trained_tokens:,.0f}",
            f"{info.tokens_per_second:,.0f}",
            duration(info.seconds),
            memory(info.peak_rss_bytes),
        ]
        for stage in stages
        for info in [stage.info]
    ]
    header = ["stage", "parameters", "steps", "tokens", "trained_tokens", "tokens a second", "time", "peak memory"]
    return section(
        "Cost",
        table(header, rows, numeric=range(1, len(header))),
        note="Time and tokens a second are of training alone, without looks at held-out data and checkpoints.",
    )


def environment(stages: Sequence[Finished]) -> list[Html]:
    """Where the stages ran: once where all ran alike, else a column a stage."""
    known = [stage for stage in stages if stage.info.environment]
    if not known:
        return []
    names = list(dict.fromkeys(name for stage in known for name in stage.info.environment))
    of = {name: [str(stage.info.environment.get(name) or "–") for stage in known] for name in names}
    if all(len(set(values)) == 1 for values in of.values()):
        return [table(["", "every stage"], [[name, values[0]] for name, values in of.items()])]
    return [table(["", *(stage.name for stage in known)], [[name, *values] for name, values in of.items()])]
