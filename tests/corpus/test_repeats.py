from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.corpus import repeats
from tutelage.corpus.repeats import bloom_seen, connect, groups, roots, settle

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
        for places, begins in groups(arrays(shards), 1 << 20):
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


@given(st.integers(1, 30).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.tuples(*[st.integers(0, n - 1)] * 2)))))
def test_connected_are_those_that_a_way_leads_to(graph: tuple[int, list[tuple[int, int]]]) -> None:
    count, edges = graph
    wanted = list(range(count))
    for left, right in edges:
        low, high = sorted((wanted[left], wanted[right]))
        wanted = [low if one == high else one for one in wanted]
    labels = np.arange(count)
    for cut in (slice(0, len(edges) // 2), slice(len(edges) // 2, None)):
        part = np.array(edges, np.int64).reshape(-1, 2)[cut]
        connect(labels, part[:, 0], part[:, 1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repeats, "_SETTLED_AT_ONCE", 7)
        assert settle(labels.copy()).tolist() == wanted
    assert roots(labels, np.arange(count)).tolist() == wanted


def test_pain_19_a_key_that_half_of_a_corpus_shares_is_no_square() -> None:
    # A star and a long chain are what naive joining takes quadratic time or a round for each document for.
    count = 200_000
    labels = np.arange(count)
    connect(labels, np.zeros(count - 1, np.int64), np.arange(1, count))
    assert not labels.any()
    labels = np.arange(count)
    chain = np.random.default_rng(0).permutation(count)
    connect(labels, chain[:-1], chain[1:])
    assert not roots(labels, np.arange(count)).any()
