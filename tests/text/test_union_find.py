from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.text import union_find
from tutelage.text.union_find import find, flatten, union


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
        union(labels, part[:, 0], part[:, 1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(union_find, "_FLATTENED_AT_ONCE", 7)
        assert flatten(labels.copy()).tolist() == wanted
    assert find(labels, np.arange(count)).tolist() == wanted


def test_pain_19_a_key_that_half_of_a_corpus_shares_is_no_square() -> None:
    # A star and a long chain are what naive joining takes quadratic time or a round for each document for.
    count = 200_000
    labels = np.arange(count)
    union(labels, np.zeros(count - 1, np.int64), np.arange(1, count))
    assert not labels.any()
    labels = np.arange(count)
    chain = np.random.default_rng(0).permutation(count)
    union(labels, chain[:-1], chain[1:])
    assert not find(labels, np.arange(count)).any()
