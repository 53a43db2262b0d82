from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.evaluate.statistics import rate, ratio_of_sums


@pytest.mark.parametrize(
    ("successes", "count", "low", "high"),
    [
        # The closed forms at the ends, with z = 1.96: 0/n is [0, z^2 / (n + z^2)], and n/n its mirror.
        (0, 10, 0.0, 0.27753),
        (10, 10, 0.72247, 1.0),
        # Symmetric about a half: 1/2 -+ z / (2 sqrt(n + z^2)).
        (5, 10, 0.23659, 0.76341),
        # Newcombe 1998, Statistics in Medicine 17, table I, method 3 (score without continuity correction).
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilsons_interval_has_its_known_values(successes: int, count: int, low: float, high: float) -> None:
    found = rate(successes, count)
    assert (found.rate, found.count) == (successes / count, count)
    assert (found.low, found.high) == pytest.approx((low, high), abs=6e-5)


@given(st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_an_interval_holds_its_rate_within_zero_and_one(trial: tuple[int, int]) -> None:
    found = rate(*trial)
    assert 0 <= found.low <= found.rate <= found.high <= 1
    assert found.low < found.high
    mirror = rate(trial[1] - trial[0], trial[1])
    assert (mirror.low, mirror.high) == pytest.approx((1 - found.high, 1 - found.low), abs=1e-12)


@pytest.mark.parametrize("trial", [(0, 0), (3, 2), (-1, 5)])
def test_what_is_no_rate_is_refused(trial: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"^{trial[0]} successes of {trial[1]} trials is no rate$"):
        rate(*trial)


def test_the_interval_of_a_ratio_covers_the_true_increase_about_95_times_of_100() -> None:
    random = np.random.default_rng(0)
    covered, worlds = 0, 300
    for world in range(worlds):
        before = random.gamma(3, 2, 60)
        after = before * 1.07 + random.normal(0, 0.6, 60)  # true increase: 7%
        increase, low, high = ratio_of_sums(after, before, seed=world, resamples=400)
        assert low < increase < high
        covered += low <= 0.07 <= high
    assert 0.90 <= covered / worlds <= 0.98


def test_an_increase_is_the_ratio_of_the_sums_and_nothing_else_is_drawn() -> None:
    before, after = np.array([1.0, 2.0, 5.0]), np.array([2.0, 2.0, 6.0])
    assert ratio_of_sums(after, before)[0] == pytest.approx(10 / 8 - 1)
    assert ratio_of_sums(after, before) == ratio_of_sums(after, before)
    assert ratio_of_sums(before * 1.5, before) == pytest.approx((0.5, 0.5, 0.5))
