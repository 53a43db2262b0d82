from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.evaluate.statistics import paired_difference, rate
from tutelage.lab.estimates import Estimate, difference, pooled

PAIRS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=60)


def columns(pairs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    array = np.array(pairs)
    return array[:, 0], array[:, 1]


@pytest.mark.parametrize(
    ("estimate", "words"),
    [
        (Estimate(0.5, 0.25, 0.75), "50.0% (25.0 to 75.0)"),
        (Estimate(-0.02, -0.05, 0.01, "relative_change"), "−2.0% (−5.0 to +1.0)"),
        (Estimate(0.123, 0.1, 0.2, "points"), "+12.3 points (+10.0 to +20.0)"),
    ],
)
def test_an_estimate_is_printed_with_its_interval_and_sign(estimate: Estimate, words: str) -> None:
    assert str(estimate) == words


def test_an_interval_that_includes_zero_is_on_neither_side() -> None:
    assert Estimate(0.1, 0.01, 0.2).above_zero
    assert Estimate(-0.1, -0.2, -0.01).below_zero
    for including in (Estimate(0.1, 0.0, 0.2), Estimate(-0.1, -0.2, 0.0), Estimate(0.0, -0.1, 0.1)):
        assert not including.above_zero
        assert not including.below_zero


@given(PAIRS)
def test_one_seed_equals_the_paired_difference(pairs: list[tuple[int, int]]) -> None:
    first, second = columns(pairs)
    estimate, expected = difference([first], [second]), paired_difference(first, second)
    assert np.allclose(
        [estimate.value, estimate.low, estimate.high], [expected.difference, expected.low, expected.high]
    )
    assert estimate.kind == "points"


@given(PAIRS, st.integers(2, 4))
def test_repeated_items_do_not_narrow_the_interval(pairs: list[tuple[int, int]], times: int) -> None:
    first, second = columns(pairs)
    repeated, single = difference([first] * times, [second] * times), difference([first], [second])
    assert np.allclose([repeated.value, repeated.low, repeated.high], [single.value, single.low, single.high])
    mean, expected = pooled([first] * times), rate(int(first.sum()), len(first))
    assert np.allclose([mean.value, mean.low, mean.high], [expected.rate, expected.low, expected.high])


def test_seeds_that_disagree_are_averaged() -> None:
    right, wrong = np.ones(50, np.int64), np.zeros(50, np.int64)
    assert pooled([right, wrong]).value == 0.5
    assert difference([wrong, wrong], [right, wrong]).value == 0.5
    assert difference([wrong, right], [right, wrong]).value == 0.0
