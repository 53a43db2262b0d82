"""The page of two results files: differences of each metric, and the items that flipped, with both answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tutelage.html import Html, Interval, badge, heading, interval_plot, join, page, paragraph, section, table
from tutelage.report.compare_page import TONES
from tutelage.report.evaluation import with_small
from tutelage.report.labels import format_p, format_pct, format_points
from tutelage.report.page import style

LONGEST = 400  # characters of a text in a cell


def results_page(comparison: Mapping[str, Any]) -> str:
    """The HTML page of a comparison by `compare_results` or `compare_folders`."""
    suites = comparison.get("suites") or {"Difference": comparison}
    one = next(iter(suites.values()))
    lead = f"First: {one['first']['model']}. Second: {one['second']['model']}. Paired item by item."
    return page("Comparison of results", [style(), *(_suite(name, of) for name, of in suites.items())], lead)


def _suite(name: str, comparison: Mapping[str, Any]) -> Html:
    metrics = comparison["metrics"]
    bars = [Interval(metric, of["difference"], of["low"], of["high"]) for metric, of in metrics.items()]
    rows: list[list[Html | str]] = [
        [
            metric,
            format_pct(of["first"]),
            format_pct(of["second"]),
            with_small(format_points(of["difference"]), _small(of)),
            badge(of["verdict"], TONES[of["verdict"]]),
        ]
        for metric, of in metrics.items()
    ]
    header = ["metric", "first", "second", "second minus first", "the second is"]
    parts = [interval_plot(bars, x_label="second minus first"), table(header, rows, numeric=(1, 2, 3))]
    note = (
        "95% intervals over the same items. +5 −2: the second got 5 right that the first did not, and lost 2. "
        "p: McNemar's exact test, then with Holm's correction for all metrics."
    )
    return section(name, *parts, *_flipped(comparison, metrics), note=note)


def _small(of: Mapping[str, Any]) -> str:
    interval = f"{format_points(of['low'])} to {format_points(of['high'])}"
    if "flipped" not in of:
        return f"{interval}; {of['count']:,} items"
    gained, lost = of["flipped"]["gained"], of["flipped"]["lost"]
    tested = f"p {format_p(of['p_value'])}, Holm {format_p(of['holm'])}"
    without = f", {of['left_out']:,} left out" if of["left_out"] else ""
    return f"{interval}; +{len(gained):,} −{len(lost):,} of {of['count']:,}{without}; {tested}"


def _flipped(comparison: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[Html]:
    """The items that flipped in the main metric, those that the second lost first."""
    metric, items = comparison["headline"], comparison["items"]
    if "flipped" not in metrics[metric]:
        return []
    parts: list[Html] = []
    for side, label in (("lost", "Only the first is right"), ("gained", "Only the second is right")):
        names = [name for name in metrics[metric]["flipped"][side] if name in items]
        rows = [
            [
                with_small(_cut(items[name]["prompt"]) or name, name),
                _cut(items[name]["gold"]),
                _cut(items[name]["first"]),
                _cut(items[name]["second"]),
            ]
            for name in names
        ]
        total = len(metrics[metric]["flipped"][side])
        parts.append(heading(join([f"{label}, by {metric}: {total:,}"])))
        parts.append(table(["item", "right answer", "first", "second"], rows) if rows else paragraph("None."))
    return parts


def _cut(text: str) -> str:
    return f"…{text[-LONGEST:].lstrip()}" if len(text) > LONGEST else text
