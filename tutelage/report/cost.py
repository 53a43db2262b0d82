"""The data ledger, and the cost of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tutelage.html import Html, badge, paragraph, section, table
from tutelage.ledger import Ledger
from tutelage.predicted import Prediction
from tutelage.progress import duration
from tutelage.report.labels import format_bytes
from tutelage.report.read import Finished


def ledgers(stages: Sequence[Finished]) -> Html | None:
    """The ledger of every dataset of every stage; None where there is none."""
    all_ledgers = [(stage.name, dataset, ledger) for stage in stages for dataset, ledger in stage.info.ledgers.items()]
    if not all_ledgers:
        return None
    rows = [row for stage, dataset, ledger in all_ledgers for row in _ledger_rows(stage, dataset, ledger)]
    wrong = [sentence for *_, ledger in all_ledgers if (sentence := _mistake(ledger))]
    verdict = badge("some do not add up", "bad") if wrong else badge("every ledger adds up", "good")
    return section(
        "Ledger",
        paragraph("Rows read = kept + held out + dropped, by reason. ", verdict),
        *(paragraph(f"{sentence}.") for sentence in wrong),
        table(["stage", "dataset", "rows that were", "rows", "", "tokens", "first seen at"], rows, numeric=(3, 4, 5)),
    )


def _mistake(ledger: Ledger) -> str:
    try:
        ledger.check()
    except AssertionError as error:
        return str(error)
    return ""


def _ledger_rows(stage: str, dataset: str, ledger: Ledger) -> list[list[str | Html]]:
    """The lines of one ledger; only the first names its stage and dataset."""
    return [
        [*((stage, dataset) if number == 0 else ("", "")), label, f"{rows:,}", share, f"{tokens:,}", examples]
        for number, (label, rows, share, tokens, examples) in enumerate(ledger.lines())
    ]


def costs(stages: Sequence[Finished], predicted: Mapping[str, Prediction]) -> Html | None:
    """The cost of each stage, beside what was predicted of it before it was trained; None where nothing was trained."""
    if not stages:
        return None
    rows = []
    for stage in stages:
        info, before = stage.info, predicted.get(stage.name)
        row: list[str | Html] = [
            stage.name,
            f"{info.parameters:,}",
            f"{info.steps:,}",
            f"{info.tokens:,}",
            f"{info.trained_tokens:,.0f}",
            f"{info.tokens_per_second:,.0f}",
            duration(info.seconds),
            format_bytes(info.peak_rss_bytes),
        ]
        row += [duration(before.seconds), format_bytes(before.peak_rss_bytes)] if before else ["–", "–"]
        rows.append(row)
    header = ["stage", "parameters", "steps", "tokens", "trained tokens", "tokens per second", "time", "peak memory"]
    header += ["predicted time", "predicted memory"]
    return section(
        "Cost",
        table(header, rows, numeric=range(1, len(header))),
        note="Time and tokens per second are of training alone, without evaluation and checkpoints. Peak memory is of "
        "the process, up to the end of a stage. Predictions are made before training, from a few steps.",
    )


def environment(stages: Sequence[Finished]) -> list[Html]:
    """The environment of the stages: one column where it is the same for all, else a column a stage."""
    known = [stage for stage in stages if stage.info.environment]
    if not known:
        return []
    names = list(dict.fromkeys(name for stage in known for name in stage.info.environment))
    of = {name: [str(stage.info.environment.get(name) or "–") for stage in known] for name in names}
    if all(len(set(values)) == 1 for values in of.values()):
        return [table(["", "every stage"], [[name, values[0]] for name, values in of.items()])]
    return [table(["", *(stage.name for stage in known)], [[name, *values] for name, values in of.items()])]
