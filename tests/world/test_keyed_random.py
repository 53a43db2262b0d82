from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tutelage.world.keyed_random import KeyedRandom


@given(st.integers(), st.lists(st.integers(1, 10**6), max_size=200))
def test_the_key_fixes_every_choice(key: int, counts: list[int]) -> None:
    first, second = KeyedRandom("test", key), KeyedRandom("test", key)
    chosen = [first.randbelow(count) for count in counts]
    assert chosen == [second.randbelow(count) for count in counts]
    assert all(0 <= choice < count for choice, count in zip(chosen, counts, strict=True))


def test_choices_are_even_across_keys_and_within_one() -> None:
    across = Counter(KeyedRandom("test", key).randbelow(32) for key in range(6400))
    rng = KeyedRandom("test")
    within = Counter(rng.randbelow(32) for _ in range(6400))
    for counts in (across, within):
        assert len(counts) == 32
        assert 140 < min(counts.values()) <= max(counts.values()) < 260  # 200 each, give or take four deviations


def test_neighbouring_keys_part_ways() -> None:
    rows = {tuple(KeyedRandom(*key).randbelow(1000) for _ in range(3)) for key in ((1, 23), (12, 3), ("1", 23), (123,))}
    assert len(rows) == 4


@given(st.integers(), st.lists(st.integers(), max_size=40))
def test_shuffled_keeps_every_item(key: int, items: list[int]) -> None:
    assert Counter(KeyedRandom(key).shuffled(items)) == Counter(items)


def test_shuffled_reaches_every_order() -> None:
    assert len({tuple(KeyedRandom(key).shuffled((1, 2, 3))) for key in range(100)}) == 6
