from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.corpus import repeats
from tutelage.corpus.repeats import bloom_seen, group_equal

SHARDS = st.lists(st.lists(st.integers(0, 9), max_size=12), max_size=5)


def arrays(shards: list[list[int]]) -> list[np.ndarray]:
    return [np.array(shard, np.uint64) for shard in shards]


@given(SHARDS, st.sampled_from([1, 2, 8]))
def test_groups_are_all_keys_that_stand_twice(shards: list[list[int]], key_bytes: int) -> None:
    flat = [key for shard in shards for key in shard]
    wanted = {
        key: [i for i, other in enumerate(flat) if other == key] for key, n in Counter(flat).items() if key and n > 1
    }
    with pytest.MonkeyPatch.context() as patch:
        # So large that a few keys must be sorted in several parts.
        patch.setattr(repeats, "_BYTES_A_KEY", key_bytes << 17)
        patch.setattr(repeats, "_READ_AT_ONCE", 3)
        found: dict[int, list[int]] = {}
        for places, begins in group_equal(arrays(shards), 1 << 20):
            assert not len(begins) or begins[0]
            for place, begin in zip(places.tolist(), begins.tolist(), strict=True):
                members = found.setdefault(flat[place], [])
                assert begin == (not members)
                members.append(place)
    assert found == wanted


@given(SHARDS)
def test_a_bloom_filter_misses_nothing_and_tells_new_from_old(shards: list[list[int]]) -> None:
    seen: set[int] = set()
    for shard, found in zip(shards, bloom_seen(arrays(shards), 1e-9, 1 << 20), strict=True):
        for key, before in zip(shard, found.tolist(), strict=True):
            assert before == (key != 0 and key in seen)
            seen.add(key)


def test_a_bloom_filter_errs_as_often_as_it_is_allowed_to() -> None:
    keys = np.random.default_rng(0).integers(1, 1 << 63, 100_000, np.uint64)
    wrong = np.concatenate(list(bloom_seen(np.split(keys, 100), 0.01, 1 << 30))).mean()
    # A filter is at its full rate only once all keys are in; until then at less.
    assert 0.001 < wrong < 0.01


def test_a_bloom_filter_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a Bloom filter for 1,000,000 keys .* memory_gib is 0.0; raise it, or set"):
        list(bloom_seen([np.ones(1_000_000, np.uint64)], 1e-6, 1000))
