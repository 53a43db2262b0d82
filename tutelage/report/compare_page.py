"""The page of a comparison: what can be told apart, what it cost, and which settings differ."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tutelage.html import (
    Html,
    Interval,
    Tone,
    badge,
    code,
    heading,
    interval_plot,
    join,
    page,
    paragraph,
    section,
    table,
    tag,
)
from tutelage.progress import duration
from tutelage.report.abilities import with_small
from tutelage.report.page import style
from tutelage.report.words import change, figure_words, memory, points, rate_words, share

TONES: dict[str, Tone] = {"better": "good", "worse": "bad", "no difference shown": "plain"}


def compare_page(comparison: Mapping[str, Any]) -> str:
    """The HTML page of what `compare` found."""
    parts = [style()]
    parts += [_stage(name, pair) for name, pair in comparison["stages"].items()]
    parts += [_costs(comparison["stages"]), _settings(comparison["settings"])]
    paths = join(["First: ", code(comparison["first"]), ". Second: ", code(comparison["second"]), ". "])
    return page("Side by side", parts, join([paths, _result(comparison["stages"])]))


def _result(stages: Mapping[str, Any]) -> Html:
    """How many differences were shown, and how many would be by chance."""
    verdicts = [of["paired"]["verdict"] for pair in stages.values() for of in _compared(pair)]
    better, worse = verdicts.count("better"), verdicts.count("worse")
    return Html(
        f"Of {len(verdicts)} comparisons the second does better in <strong>{better}</strong> and worse in "
        f"<strong>{worse}</strong>; between two models that are equal, about one in twenty would seem to differ."
    )


def _compared(pair: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [of for of in (*pair["rates"].values(), *pair["losses"].values()) if "paired" in of]


def _stage(name: str, pair: Mapping[str, Any]) -> Html:
    rows = [_rate_row(rate, of) for rate, of in pair["rates"].items()]
    rows += [_loss_row(data, of) for data, of in pair["losses"].items()]
    parts: list[Html] = []
    bars = [_bar(rate_words(rate), of["paired"]) for rate, of in pair["rates"].items() if "paired" in of]
    if bars:
        parts.append(interval_plot(bars, x_label="second minus first"))
    if rows:
        header = ["", "first", "second", "second minus first", "the second is"]
        parts.append(table(header, rows, numeric=(1, 2, 3)))
    if pair["figures"]:
        figures = [
            [figure_words(name), f"{of['first']:.3f}", f"{of['second']:.3f}"] for name, of in pair["figures"].items()
        ]
        parts += [
            heading("Without an interval, and so without a verdict"),
            table(["", f"first: {pair['first']}", f"second: {pair['second']}"], figures, numeric=(1, 2)),
        ]
    note = (
        "Differences are over the items that both were asked, paired one by one, in percentage points with their 95% "
        "interval. A verdict stands only where that interval leaves out zero."
    )
    return section(name, *parts, note=note)


def _bar(label: str, paired: Mapping[str, Any]) -> Interval:
    return Interval(label, paired["difference"], paired["low"], paired["high"])


def _rate_row(name: str, of: Mapping[str, Any]) -> list[Html | str]:
    cells: list[Html | str] = [rate_words(name)]
    cells += [
        with_small(share(rate["rate"]), f"{share(rate['low'])} to {share(rate['high'])}")
        for rate in (of["first"], of["second"])
    ]
    if "paired" not in of:
        return [*cells, "", tag("span", "no verdict", attributes={"class": "note"})]
    paired = of["paired"]
    asked = f"{points(paired['low'])} to {points(paired['high'])}, {paired['count']:,} asked"
    return [*cells, with_small(points(paired["difference"]), asked), _verdict(paired["verdict"])]


def _loss_row(data: str, of: Mapping[str, Any]) -> list[Html | str]:
    paired = of["paired"]
    units = f"{change(paired['low'])} to {change(paired['high'])}, {paired['count']:,} units"
    return [
        f"bits a byte on the base model's held-out text, {data}",
        f"{of['first']:.3f}",
        f"{of['second']:.3f}",
        with_small(change(paired["change"]), units),
        _verdict(paired["verdict"]),
    ]


def _verdict(verdict: str) -> Html:
    return badge(verdict, TONES[verdict])


def _costs(stages: Mapping[str, Any]) -> Html:
    rows = [
        [name if number == 0 else "", figure_words(cost), *(_cost(cost, of[one]) for one in ("first", "second"))]
        for name, pair in stages.items()
        for number, (cost, of) in enumerate(pair["costs"].items())
    ]
    note = "Timings are of one run each, on whatever else the machine did: no verdict is given on speed."
    return section("Cost", table(["stage", "", "first", "second"], rows, numeric=(2, 3)), note=note)


def _cost(name: str, value: float) -> str:
    if name == "seconds":
        return duration(value)
    return memory(value) if name == "peak_rss_bytes" else f"{value:,.0f}"


def _settings(settings: Mapping[str, Any]) -> Html:
    if not settings:
        return section("Settings that differ", paragraph("None: both recipes are the same."))
    rows = [[code(name), _value(of["first"]), _value(of["second"])] for name, of in settings.items()]
    return section("Settings that differ", table(["setting", "first", "second"], rows))


def _value(value: Any) -> Html | str:
    return tag("span", "not set", attributes={"class": "note"}) if value is None else code(json.dumps(value))
