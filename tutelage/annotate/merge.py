"""Votes of an export into a log: what is there already changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from tutelage.annotate.events import AnnotationItem, Assignment, Event, Submission
from tutelage.annotate.state import Annotations
from tutelage.io.row import BrokenRow, Row
from tutelage.ledger import Ledger


class _VoteRow(msgspec.Struct):
    item: AnnotationItem
    vote: Submission
    order: tuple[int, ...] = ()


def merged_events(
    state: Annotations, rows: Iterable[tuple[str, Row | BrokenRow | None]], ledger: Ledger
) -> Iterator[Event]:
    """The events that a log lacks: items, who had them, and votes that are newer than its own. Changes `state`.

    Raises:
        ValueError: a row is no vote of an export; the message names it.
    """
    for place, row in rows:
        if row is None:
            continue
        ledger.read()
        if isinstance(row, BrokenRow):
            raise ValueError(f"{place}: {row}; import what `tutelage annotate export --as votes` wrote")
        try:
            read = msgspec.convert(row, _VoteRow)
        except msgspec.ValidationError as error:
            raise ValueError(f"{place}: {error}; import what `tutelage annotate export --as votes` wrote") from None
        vote = read.vote
        before = state.current(vote.item, vote.person, vote.repeat)
        if vote.id in state.by_id:
            ledger.drop("already there")
            continue
        if before is not None and before.revision >= vote.revision:
            ledger.drop("older than the log's", where=place)
            continue
        ledger.keep()
        events: list[Event] = [read.item] if read.item.id not in state.items else []
        if (vote.item, vote.person, vote.repeat) not in state.orders:
            events.append(
                Assignment(item=vote.item, person=vote.person, order=read.order, repeat=vote.repeat, time=vote.time)
            )
        for event in (*events, vote):
            state.apply(event)
            yield event
