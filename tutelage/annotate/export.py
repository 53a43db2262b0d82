"""Votes to training rows, with the account of what was left out and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from tutelage.annotate.events import AnnotationItem, Submission, dense_ranks
from tutelage.annotate.quality import gold_accuracy, is_fast, verdicts
from tutelage.annotate.state import Annotations
from tutelage.ledger import Ledger
from tutelage.text.hashing import falls_in

ExportKind = Literal["rankings", "pairs", "demonstrations", "battles", "votes"]
ExportRow = dict[str, Any]


@dataclass(frozen=True)
class ExportRules:
    """Which votes leave.

    min_gold:  people who order fewer of the pairs of gold items right are left out, and who judged none.
    not_blind: whether votes on answers that name a model leave too.
    fast:      whether votes that took less time than reading leave too.
    """

    min_gold: float = 0.0
    not_blind: bool = False
    fast: bool = True


def export_rows(state: Annotations, kind: ExportKind, rules: ExportRules, ledger: Ledger) -> Iterator[ExportRow]:
    """The rows of every vote, its last revision: one row, or with "pairs" one for each two answers that it orders."""
    if kind == "votes":
        yield from _votes(state, ledger)
        return
    trusted = _trusted(state, rules)
    for vote in state.votes():
        ledger.read()
        item = state.items[vote.item]
        reason = _why_not(item, vote, kind, rules, trusted)
        rows = [] if reason else [*_ROWS[kind](item, vote)]
        if reason or not rows:
            ledger.drop(reason or "ties alone", where=f"{vote.item} by {vote.person}")
            continue
        if kind == "pairs" and (ties := sum(verdict == 0 for verdict in verdicts(vote.ranks).values())):
            ledger.note("pair is a tie", ties)
        ledger.split(len(rows))
        yield from rows


def _trusted(state: Annotations, rules: ExportRules) -> Mapping[str, bool]:
    found = {person: gold_accuracy(state, person) for person in {vote.person for vote in state.votes()}}
    return {
        person: not rules.min_gold or (total > 0 and right >= rules.min_gold * total)
        for person, (right, total) in found.items()
    }


def _why_not(
    item: AnnotationItem, vote: Submission, kind: ExportKind, rules: ExportRules, trusted: Mapping[str, bool]
) -> str:
    """Why a vote is left out; "" where it is not."""
    if vote.outcome == "skipped":
        return "skipped"
    if item.gold is not None:
        return "gold item"
    if vote.repeat:
        return "repeated item"
    if not trusted[vote.person]:
        return "annotator below min_gold"
    if any(item.leaks) and not rules.not_blind:
        return "answer names a model"
    if is_fast(item, vote) and not rules.fast:
        return "faster than reading"
    if kind == "demonstrations":
        return "" if vote.text.strip() else "no text"
    if kind == "battles" and not item.models:
        return "models are not known"
    return "" if verdicts(vote.ranks) else "fewer than two answers ranked"


def _origin(item: AnnotationItem, vote: Submission) -> ExportRow:
    source = {"source": item.source} if item.source else {}
    return {"item": item.id, "annotator": vote.person, **source}


def _ranking(item: AnnotationItem, vote: Submission) -> Iterator[ExportRow]:
    ranked = [(text, rank) for text, rank in zip(item.answers, vote.ranks, strict=True) if rank is not None]
    if len({rank for _, rank in ranked}) > 1:
        answers, ranks = [text for text, _ in ranked], dense_ranks(tuple(rank for _, rank in ranked))
        yield {"prompt": _plain(item.prompt), "answers": answers, "ranks": ranks, **_origin(item, vote)}


def _pairs(item: AnnotationItem, vote: Submission) -> Iterator[ExportRow]:
    for (first, second), verdict in verdicts(vote.ranks).items():
        if verdict:
            better, worse = (first, second) if verdict < 0 else (second, first)
            sides = {"chosen": item.answers[better], "rejected": item.answers[worse]}
            yield {"prompt": _plain(item.prompt), **sides, **_origin(item, vote)}


def _demonstration(item: AnnotationItem, vote: Submission) -> Iterator[ExportRow]:
    answer = {"role": "assistant", "content": vote.text}
    suggested = {"suggested": True} if vote.suggested else {}
    yield {"messages": [*_plain(item.prompt), answer], **_origin(item, vote), **suggested}


def _battle(item: AnnotationItem, vote: Submission) -> Iterator[ExportRow]:
    """A ranking of models. Models that gave the same answer tie."""
    pairs = zip(item.models, vote.ranks, strict=True)
    ranked = [(model, rank) for models, rank in pairs if rank is not None for model in models]
    models, ranks = [model for model, _ in ranked], [rank for _, rank in ranked]
    yield {"prompt": item.id, "models": models, "ranks": ranks, "annotator": vote.person}


_ROWS: Mapping[str, Callable[[AnnotationItem, Submission], Iterator[ExportRow]]] = {
    "rankings": _ranking,
    "pairs": _pairs,
    "demonstrations": _demonstration,
    "battles": _battle,
}


def _votes(state: Annotations, ledger: Ledger) -> Iterator[ExportRow]:
    """One row for each item, person and repeat, which `import_votes` reads."""
    for vote in state.votes():
        ledger.read()
        ledger.keep()
        yield {
            "item": _plain(state.items[vote.item]),
            "vote": _plain(vote),
            "order": list(state.orders.get((vote.item, vote.person, vote.repeat), ())),
        }


def held_out_of(row: ExportRow, share: float, by: Literal["prompt", "source"]) -> bool:
    """Whether a row is held out: all rows of a prompt, or of a source such as a customer, on one side."""
    source = row.get("source") if by == "source" else None
    return falls_in(f"held out/{source or row['item']}", share)


def _plain(value: Any) -> Any:
    return msgspec.to_builtins(value)
