from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.evaluate.benchmarks.sampling import FIRST_PART, stratified_order, unique_ids, within_seconds


@dataclass(frozen=True)
class Item:
    id: str
    group: str


def items(**counts: int) -> list[Item]:
    return [Item(f"{group}{number}", group) for group, count in counts.items() for number in range(count)]


def test_pain_e17_a_limit_takes_its_share_of_every_group() -> None:
    """`--limit` of lm-evaluation-harness took the first rows: all of one subject (#2598)."""
    every = items(business=500, law=300, maths=200)
    chosen = stratified_order(every, 0)[:100]
    counts = Counter(item.group for item in chosen)
    assert {name: abs(counts[name] - share) <= 1 for name, share in (("business", 50), ("law", 30), ("maths", 20))}
    assert set(counts) == {"business", "law", "maths"}
    assert chosen == stratified_order(list(reversed(every)), 0)[:100]  # the order of the file does not matter
    assert chosen != stratified_order(every, 1)[:100]


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.integers(0, 200), st.integers(0, 5))
def test_every_beginning_is_balanced(sizes: list[int], count: int, seed: int) -> None:
    every = items(**{f"g{number}_": size for number, size in enumerate(sizes)})
    order = stratified_order(every, seed)
    assert sorted(order, key=every.index) == every
    count = min(count, len(every))
    found = Counter(item.group for item in order[:count])
    for group, size in Counter(item.group for item in every).items():
        assert abs(found[group] - count * size / len(every)) <= len(sizes) / 2 + 1


def test_ids_are_unique() -> None:
    every = [Item("1", "a"), Item("1", "b"), Item("1", "b"), Item("2", "b"), Item("3", ""), Item("3", "")]
    assert [item.id for item in unique_ids(every)] == ["a/1", "b/1", "b/1:2", "2", "3", "3:2"]
    assert unique_ids(every)[3] == replace(every[3])


@pytest.mark.parametrize(("seconds", "count"), [(1000.0, 100), (40.0, 40), (0.0, FIRST_PART), (9.0, 9)])
def test_a_budget_takes_as_many_as_fit(seconds: float, count: int) -> None:
    """An item takes a second."""
    now, ran = 0.0, []

    def run(start: int, end: int) -> None:
        nonlocal now
        now += end - start
        ran.append((start, end))

    assert within_seconds(100, run, seconds, lambda: now) == count
    assert [start for start, _ in ran] == [0, *(end for _, end in ran[:-1])] and ran[-1][1] == count
