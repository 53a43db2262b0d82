"""The report of a log as one HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tutelage.annotate.events import AnnotationItem, Submission
from tutelage.annotate.quality import same_verdicts, votes_of_items
from tutelage.annotate.state import Annotations
from tutelage.html import Html, Interval, facts, heading, interval_plot, page, paragraph, section, table

_SHOWN = 10  # items


def quality_page(state: Annotations, found: Mapping[str, Any], choice: Mapping[str, Any] | None) -> str:
    """The figures of `quality_figures` and of `choice_figures`, and the items that people disagree on most."""
    outcomes = {name: f"{count:,}" for name, count in {**found["outcomes"], **found["flags"]}.items()}
    counts = {"items": f"{found['items']:,}", "submissions": f"{found['submissions']:,}", **outcomes}
    parts: list[Html | None] = [section("Submissions", facts(counts))]
    if choice is not None:
        parts.append(_choice_section(choice))
    parts += [_agreement_section(found), _people_section(found["people"]), _disagreement_section(state)]
    return page("Annotations", [part for part in parts if part is not None])


def _choice_section(choice: Mapping[str, Any]) -> Html:
    """Ratings, the decision, and what training would have chosen."""
    players = choice["players"]
    # A rating without a bound has none to draw.
    bounded = [each for each in players if each["low"] is not None and each["high"] is not None]
    rows = [Interval(each["name"], each["rating"], each["low"], each["high"]) for each in bounded]
    best = choice["decision"]
    text = (
        f"People choose {best['best']}, decided after {best['prompts']:,} prompts."
        if best
        else f"Not decided after {choice['prompts']:,} prompts."
    )
    cells: list[list[str | Html]] = [
        [each["name"], f"{each['rating']:.0f}", _number(each["score"]), _number(each["held_out_loss"])]
        for each in players
    ]
    plot = [interval_plot(rows, x_label="rating, with its 95% interval", percent=False)] if rows else []
    listed = table(["checkpoint", "rating", "score in training", "held-out loss"], cells, numeric=(1, 2, 3))
    return section("Choice", paragraph(text), *plot, listed, note="Votes on answers that name a model are left out.")


def _agreement_section(found: Mapping[str, Any]) -> Html | None:
    rows: list[list[str | Html]] = []
    for label, figures in (
        ("all", found["agreement"]),
        *((f"{size} answers", figures) for size, figures in found["agreement_by_answers"].items()),
        *((f"from {source}", figures) for source, figures in found["agreement_by_source"].items()),
        ("not blind, a name was masked", found["agreement_not_blind"]),
    ):
        if figures is None:
            continue
        alpha = figures["alpha"]
        bounds = f"{_number(alpha['low'])} to {_number(alpha['high'])}" if alpha else ""
        strict = figures["strict"]
        rows.append(
            [
                label,
                f"{figures['items']:,}",
                _number(alpha and alpha["value"]),
                bounds,
                f"{figures['same']['mean']:.1%}",
                f"{strict['mean']:.1%}" if strict else "",
            ]
        )
    if not rows:
        return None
    header = ["items", "count", "alpha", "95% interval", "pairs alike", "without ties"]
    note = "Krippendorff's alpha of the ranks, ordinal: 1 is agreement, 0 is chance."
    return section("Agreement", table(header, rows, numeric=(1, 2, 3, 4, 5)), note=note)


def _people_section(people: Mapping[str, Mapping[str, Any]]) -> Html:
    rows: list[list[str | Html]] = [
        [
            person,
            f"{own['submissions']:,}",
            f"{own['skipped']:,}",
            "" if own["seconds"] is None else f"{own['seconds']:.0f} s",
            f"{own['fast']:,}",
            *("" if own[name] is None else f"{own[name]['share']:.0%}" for name in ("others", "self", "gold")),
        ]
        for person, own in people.items()
    ]
    header = ["person", "submissions", "skipped", "time", "faster than reading", "as others", "as before", "as gold"]
    return section("People", table(header, rows, numeric=(1, 2, 3, 4, 5, 6, 7)))


def _disagreement_section(state: Annotations) -> Html | None:
    """The items on which people agree least: to talk about, and to mend the guidelines by."""
    shares = []
    for item, votes in votes_of_items(state).items():
        pairs = same_verdicts(votes)
        if pairs:
            shares.append((float(np.mean([one == other for one, other in pairs])), item, votes))
    worst = [entry for entry in sorted(shares, key=lambda entry: entry[:2]) if entry[0] < 1][:_SHOWN]
    if not worst:
        return None
    parts = [part for share, item, votes in worst for part in _item_parts(state.items[item], votes, share)]
    return section("Where people disagree", *parts)


def _item_parts(item: AnnotationItem, votes: Sequence[Submission], share: float) -> list[Html]:
    rows: list[list[str | Html]] = [
        [text, *("–" if vote.ranks[place] is None else str(vote.ranks[place]) for vote in votes)]
        for place, text in enumerate(item.answers)
    ]
    header: list[str | Html] = [f"answer ({share:.0%} of pairs alike)", *(vote.person for vote in votes)]
    reasons = [paragraph(f"{vote.person}: {vote.reason}", muted=True) for vote in votes if vote.reason]
    return [heading(item.prompt[-1].content), table(header, rows, numeric=range(1, len(header))), *reasons]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
