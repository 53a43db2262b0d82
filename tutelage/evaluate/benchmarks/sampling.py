"""Which items of a benchmark are asked, when not all are: a seeded part in which each group has its share."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Protocol, TypeVar

FIRST_PART = 8  # items that are run to learn how long one takes


class Grouped(Protocol):
    """What has an id and a group."""

    @property
    def id(self) -> str: ...

    @property
    def group(self) -> str: ...


Item = TypeVar("Item", bound=Grouped)


def stratified_order(items: Sequence[Item], seed: int) -> list[Item]:
    """The items such that in every beginning each group has about its share of all, in an order that depends on the
    seed and the ids alone. So the first n of 100 are among the first n of 200."""
    groups: defaultdict[str, list[Item]] = defaultdict(list)
    for item in sorted(items, key=lambda item: _random(seed, item)):
        groups[item.group].append(item)
    placed = [
        ((place + 0.5) / len(members), _random(seed, item), item)
        for members in groups.values()
        for place, item in enumerate(members)
    ]
    return [item for *_, item in sorted(placed, key=lambda entry: entry[:2])]


def _random(seed: int, item: Grouped) -> bytes:
    return blake2b(f"{seed} {item.group} {item.id}".encode(), digest_size=8).digest()


def unique_ids(items: Sequence[Item]) -> list[Item]:
    """The items under ids that no two share: with their group, and where that is not enough a number. Rows that are
    numbered anew in every file of a set have the same ids."""
    shared = {name for name, count in Counter(item.id for item in items).items() if count > 1}
    seen: Counter[str] = Counter()
    found = []
    for item in items:
        name = f"{item.group}/{item.id}" if item.id in shared and item.group else item.id
        seen[name] += 1
        found.append(replace(item, id=name if seen[name] == 1 else f"{name}:{seen[name]}"))  # type: ignore[type-var]
    return found


def within_seconds(
    count: int, run: Callable[[int, int], object], seconds: float, clock: Callable[[], float] = time.monotonic
) -> int:
    """How many of `count` items fit into some seconds, at least FIRST_PART. `run(start, end)` runs a part of them, and
    keeps what it finds: parts grow while the time that the last one took allows it."""
    began, done, part = clock(), 0, FIRST_PART
    while done < count and part > 0:
        end, start = min(done + part, count), clock()
        run(done, end)
        now, ran, done = clock(), end - done, end
        per_item, left = max(now - start, 1e-9) / ran, seconds - (now - began)
        part = min(2 * part, int(left / per_item))
    return done
