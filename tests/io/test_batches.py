from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tutelage.io.batches import batches


@given(st.lists(st.integers(), max_size=20), st.integers(1, 7))
def test_batches_hold_all_items_in_order_and_only_the_last_is_shorter(items: list[int], size: int) -> None:
    made = list(batches(iter(items), size))
    assert [item for batch in made for item in batch] == items
    assert all(len(batch) == size for batch in made[:-1]) and all(made)
