"""Conversations joined to longer ones, whose subject changes from one question to the next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from tutelage.records import Conversation
from tutelage.world.keyed_random import KeyedRandom

MOST = 4  # conversations in one


def joined(conversations: Iterable[Conversation], share: float, seed: int, most: int = MOST) -> Iterator[Conversation]:
    """The conversations in their order; a share of the rows are two to `most` of them, one after the other, without the
    system messages. Their metadata is that of the last one, and `turns` says how many were joined."""
    rows = iter(conversations)
    for number, first in enumerate(rows):
        rng = KeyedRandom(seed, "joined", number)
        if rng.randbelow(1000) >= share * 1000:
            yield first
            continue
        parts = [first, *(row for _, row in zip(range(1 + rng.randbelow(most - 1)), rows, strict=False))]
        messages = tuple(turn for part in parts for turn in part.messages if turn.role != "system")
        yield replace(parts[-1], messages=messages, meta={**parts[-1].meta, "turns": str(len(parts))})
