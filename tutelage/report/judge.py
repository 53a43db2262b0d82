"""The figures of a judge on the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tutelage.intervals import Rate
from tutelage.report.labels import format_points


def figure_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """One line for each figure of `evaluate.judge_figures.figures`."""
    first, second = found["names"]
    yield f"{found['pairs']:,} prompts, {found['counted']:,} with a verdict in both orders"
    yield f"{first} wins {found['wins']:,}, ties {found['ties']:,}, {second} wins {found['losses']:,}"
    if "win_rate" in found:
        yield f"win rate of {first}: {_mean(found['win_rate'])}"
        controlled = found["length_controlled"]
        lengths = "mean length {:,.0f} and {:,.0f} characters".format(*found["mean_length"])
        yield f"at equal length: {'cannot be told' if controlled is None else _mean(controlled)}; {lengths}"
        yield f"verdict flips with the order: {_rate(found['flips'])}"
    for name, won in found.get("categories", {}).items():
        yield f"    {name or 'without a category'}: {_mean(won)}"
    for name, label in (("first_seat", "the answer shown first wins"), ("longer_wins", "the longer answer wins")):
        if name in found:
            yield f"{label}: {_rate(found[name])}"
    yield f"replies without a verdict, left out: {_rate(found['unparsed'])}"
    for name in found["family"]:
        yield f"note: the judge {found['judge']} and {name} seem to be of one family; judges favour their own"
    if "human" in found:
        kappa = found["human"]["kappa"]
        told = "cannot be told" if kappa is None else f"{kappa:.2f}"
        yield f"agrees with people, ties apart: {_rate(found['human']['accuracy'])}, Cohen's kappa {told}"
        favours = found["human"]["favours"]
        bounds = f" ({format_points(favours['low'])} to {format_points(favours['high'])})" if "low" in favours else ""
        yield f"the judge gives {first} {format_points(favours['mean'])} points more than people do{bounds}"


def _mean(value: Mapping[str, float]) -> str:
    bounds = f" ({value['low']:.1%} to {value['high']:.1%})" if "low" in value else ""
    return f"{value['mean']:.1%}{bounds}"


def _rate(value: Rate) -> str:
    return f"{value.rate:.1%} of {value.count:,} ({value.low:.1%} to {value.high:.1%})"
