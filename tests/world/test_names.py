from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tutelage.world.names import COUNT, FIRST, LAST, MIDDLE, name_index, name_parts, rounds


def test_each_list_has_128_names_and_they_share_none() -> None:
    assert [len(names) for names in (FIRST, MIDDLE, LAST)] == [128, 128, 128]
    assert len({name.casefold() for name in (*FIRST, *MIDDLE, *LAST)}) == 3 * 128


@given(st.integers(), st.integers(0, COUNT - 1))
def test_a_name_leads_back_to_its_index(seed: int, index: int) -> None:
    keys = rounds(seed)
    assert name_index(*name_parts(index, keys), keys) == index


def test_names_are_unique_at_100_000_and_use_every_part() -> None:
    keys = rounds(3)
    names = {name_parts(index, keys) for index in range(100_000)}
    assert len(names) == 100_000
    assert [len(set(parts)) for parts in zip(*names, strict=True)] == [128, 128, 128]


def test_a_small_world_uses_many_different_parts() -> None:
    names = [name_parts(index, rounds(0)) for index in range(200)]
    assert all(len(set(parts)) > 80 for parts in zip(*names, strict=True))


def test_the_seed_changes_the_names() -> None:
    assert name_parts(0, rounds(0)) != name_parts(0, rounds(1))
