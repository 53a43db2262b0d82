from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.evaluate.statistics import paired_difference, rate
from tutelage.lab.figures import Estimate, difference, pooled

PAIRS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=60)


def columns(pairs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    array = np.array(pairs)
    return array[:, 0], array[:, 1]


@pytest.mark.parametrize(
    ("estimate", "words"),
    [
        (Estimate(0.5, 0.25, 0.75), "50.0% (25.0 to 75.0)"),
        (Estimate(-0.02, -0.05, 0.01, "change"), "−2.0% (−5.0 to +1.0)"),
        (Estimate(0.123, 0.1, 0.2, "points"), "+12.3 points (+10.0 to +20.0)"),
    ],
)
def test_an_estimate_says_its_interval_and_its_sign(estimate: Estimate, words: str) -> None:
    assert str(estimate) == words


def test_an_interval_that_touches_zero_lies_on_no_side() -> None:
    assert Estimate(0.1, 0.01, 0.2).above_zero
    assert Estimate(-0.1, -0.2, -0.01).below_zero
    for across in (Estimate(0.1, 0.0, 0.2), Estimate(-0.1, -0.2, 0.0), Estimate(0.0, -0.1, 0.1)):
        assert not across.above_zero
        assert not across.below_zero


@given(PAIRS)
def test_one_seed_is_compared_in_pairs(pairs: list[tuple[int, int]]) -> None:
    first, second = columns(pairs)
    ours, theirs = difference([first], [second]), paired_difference(first, second)
    assert np.allclose([ours.value, ours.low, ours.high], [theirs.difference, theirs.low, theirs.high])
    assert ours.kind == "points"


@given(PAIRS, st.integers(2, 4))
def test_asking_the_same_items_again_tells_no_more(pairs: list[tuple[int, int]], times: int) -> None:
    first, second = columns(pairs)
    again, once = difference([first] * times, [second] * times), difference([first], [second])
    assert np.allclose([again.value, again.low, again.high], [once.value, once.low, once.high])
    share, of_one = pooled([first] * times), rate(int(first.sum()), len(first))
    assert np.allclose([share.value, share.low, share.high], [of_one.rate, of_one.low, of_one.high])


def test_seeds_that_disagree_are_averaged() -> None:
    right, wrong = np.ones(50, np.int64), np.zeros(50, np.int64)
    assert pooled([right, wrong]).value == 0.5
    assert difference([wrong, wrong], [right, wrong]).value == 0.5
    assert difference([wrong, right], [right, wrong]).value == 0.0
