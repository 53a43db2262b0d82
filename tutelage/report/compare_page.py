"""The page of a comparison: differences with their intervals, costs, and the settings that differ."""

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
from tutelage.report.evaluation import with_small
from tutelage.report.labels import (
    figure_label,
    format_bytes,
    format_change,
    format_p,
    format_pct,
    format_points,
    rate_label,
)
from tutelage.report.page import style

TONES: dict[str, Tone] = {"better": "good", "worse": "bad", "no difference shown": "plain"}


def compare_page(comparison: Mapping[str, Any]) -> str:
    """The HTML page of a comparison by `compare`."""
    parts = [style()]
    parts += [_stage(name, pair) for name, pair in comparison["stages"].items()]
    parts += [_costs(comparison["stages"]), _settings(comparison["settings"])]
    paths = join(["First: ", code(comparison["first"]), ". Second: ", code(comparison["second"]), ". "])
    return page("Comparison", parts, join([paths, _result(comparison["stages"])]))


def _result(stages: Mapping[str, Any]) -> Html:
    """How many differences are significant, and how many would be by chance."""
    verdicts = [of["paired"]["verdict"] for pair in stages.values() for of in _compared(pair)]
    better, worse = verdicts.count("better"), verdicts.count("worse")
    return Html(
        f"Of {len(verdicts)} comparisons the second is better in <strong>{better}</strong> and worse in "
        f"<strong>{worse}</strong>; between two equal models about one in twenty differs by chance. "
        + _after_holm(stages)
    )


def _after_holm(stages: Mapping[str, Any]) -> str:
    """How many of the rates differ after the correction for their number."""
    rates = [of["paired"] for pair in stages.values() for of in pair["rates"].values() if "paired" in of]
    return f"{sum(of['holm'] < 0.05 for of in rates)} of {len(rates)} rates differ after Holm's correction."


def _compared(pair: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [
        of for of in (*pair["rates"].values(), *pair["losses"].values(), *pair["row_losses"].values()) if "paired" in of
    ]


def _stage(name: str, pair: Mapping[str, Any]) -> Html:
    rows = [_rate_row(rate, of) for rate, of in pair["rates"].items()]
    texts = ((f"bits per byte on the base model's held-out text, {data}", of) for data, of in pair["losses"].items())
    own = ((f"nats per token on held-out rows, {data}", of) for data, of in pair["row_losses"].items())
    rows += [_loss_row(label, of) for label, of in (*own, *texts)]
    parts: list[Html] = []
    bars = [_bar(rate_label(rate), of["paired"]) for rate, of in pair["rates"].items() if "paired" in of]
    if bars:
        parts.append(interval_plot(bars, x_label="second minus first"))
    if rows:
        header = ["", "first", "second", "second minus first", "the second is"]
        parts.append(table(header, rows, numeric=(1, 2, 3)))
    if pair["figures"]:
        figures = [
            [figure_label(name), f"{of['first']:.3f}", f"{of['second']:.3f}"] for name, of in pair["figures"].items()
        ]
        parts += [
            heading("No interval, and so no verdict"),
            table(["", f"first: {pair['first']}", f"second: {pair['second']}"], figures, numeric=(1, 2)),
        ]
    note = (
        "Differences are over the items that both were asked, paired item by item, in percentage points with their "
        "95% interval. There is a verdict only where that interval excludes 0. +5 −2: the second got 5 items right "
        "that the first did not, and lost 2. p: McNemar's exact test, then with Holm's correction for all rates."
    )
    return section(name, *parts, note=note)


def _bar(label: str, paired: Mapping[str, Any]) -> Interval:
    return Interval(label, paired["difference"], paired["low"], paired["high"])


def _rate_row(name: str, of: Mapping[str, Any]) -> list[Html | str]:
    cells: list[Html | str] = [rate_label(name)]
    cells += [
        with_small(format_pct(rate["rate"]), f"{format_pct(rate['low'])} to {format_pct(rate['high'])}")
        for rate in (of["first"], of["second"])
    ]
    if "paired" not in of:
        return [*cells, "", tag("span", "no verdict", attributes={"class": "note"})]
    paired = of["paired"]
    p_value = f"p {format_p(paired['p_value'])}, Holm {format_p(paired['holm'])}"
    interval = f"{format_points(paired['low'])} to {format_points(paired['high'])}"
    flipped = f"+{len(paired['flipped']['gained']):,} −{len(paired['flipped']['lost']):,} of {paired['count']:,}"
    asked = f"{interval}; {flipped}; {p_value}"
    return [*cells, with_small(format_points(paired["difference"]), asked), _verdict(paired["verdict"])]


def _loss_row(label: str, of: Mapping[str, Any]) -> list[Html | str]:
    paired = of["paired"]
    interval = f"{format_change(paired['low'])} to {format_change(paired['high'])}, {paired['count']:,} pieces"
    return [
        label,
        f"{of['first']:.3f}",
        f"{of['second']:.3f}",
        with_small(format_change(paired["change"]), interval),
        _verdict(paired["verdict"]),
    ]


def _verdict(verdict: str) -> Html:
    return badge(verdict, TONES[verdict])


def _costs(stages: Mapping[str, Any]) -> Html:
    rows = [
        [name if number == 0 else "", figure_label(cost), *(_cost(cost, of[side]) for side in ("first", "second"))]
        for name, pair in stages.items()
        for number, (cost, of) in enumerate(pair["costs"].items())
    ]
    note = "Timings are of one run each, on a machine that may have been busy: there is no verdict on speed."
    return section("Cost", table(["stage", "", "first", "second"], rows, numeric=(2, 3)), note=note)


def _cost(name: str, value: float) -> str:
    if name == "seconds":
        return duration(value)
    return format_bytes(value) if name == "peak_rss_bytes" else f"{value:,.0f}"


def _settings(settings: Mapping[str, Any]) -> Html:
    if not settings:
        return section("Settings that differ", paragraph("None: both recipes are the same."))
    rows = [[code(name), _value(of["first"]), _value(of["second"])] for name, of in settings.items()]
    return section("Settings that differ", table(["setting", "first", "second"], rows))


def _value(value: Any) -> Html | str:
    return tag("span", "not set", attributes={"class": "note"}) if value is None else code(json.dumps(value))
