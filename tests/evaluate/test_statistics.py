from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tutelage.evaluate.statistics import Rate, paired_difference, rate, ratio_of_sums, share_of_sums


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


def outcomes(both: int, won: int, lost: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    """Two rows of 0 and 1 that agree and disagree so often."""
    counts = [both, won, lost, neither]
    return np.repeat([1, 0, 1, 0], counts), np.repeat([1, 1, 0, 0], counts)


@pytest.mark.parametrize(
    ("won", "lost", "count", "low", "high"),
    [
        # Airways before and after a transplantation, the example of Fagerland et al. 2014, Statistics in Medicine 33.
        (1, 7, 21, -0.50835, -0.01339),
        # Nothing disagrees: 0 -+ z sqrt(2) / (n + 2).
        (0, 0, 10, -0.23099, 0.23099),
        (3, 3, 20, -0.25200, 0.25200),
    ],
)
def test_the_paired_interval_has_its_known_values(won: int, lost: int, count: int, low: float, high: float) -> None:
    found = paired_difference(*outcomes(2, won, lost, count - won - lost - 2))
    assert (found.difference, found.count) == ((won - lost) / count, count)
    assert (found.low, found.high) == pytest.approx((low, high), abs=6e-5)


@given(*[st.integers(0, 400)] * 4)
def test_a_paired_interval_holds_its_difference_and_does_not_care_which_is_first(
    both: int, won: int, lost: int, neither: int
) -> None:
    assume(both + won + lost + neither > 0)
    first, second = outcomes(both, won, lost, neither)
    found, turned = paired_difference(first, second), paired_difference(second, first)
    assert -1 <= found.low <= found.difference <= found.high <= 1
    assert (turned.difference, turned.low, turned.high) == pytest.approx((-found.difference, -found.high, -found.low))
    assert found.difference == pytest.approx(second.mean() - first.mean())
    if won == lost:
        assert found.low < 0 < found.high


def test_a_paired_interval_covers_the_true_difference_in_small_cases() -> None:
    random = np.random.default_rng(0)
    trials = 4000
    for count in (10, 25, 60):
        for won, lost in ((0.02, 0.02), (0.1, 0.1), (0.2, 0.05), (0.5, 0.1), (0.05, 0.6)):
            cells = random.multinomial(count, [won, lost, 1 - won - lost], trials)
            found = [paired_difference(*outcomes(0, *cell.tolist())) for cell in cells]
            covered = np.mean([one.low <= won - lost <= one.high for one in found])
            assert covered >= 0.93, (count, won, lost, covered)


def test_there_is_no_difference_without_items() -> None:
    with pytest.raises(ValueError, match="without items"):
        paired_difference(np.zeros(0), np.zeros(0))


def test_a_share_of_sums_counts_what_hangs_together_once() -> None:
    random = np.random.default_rng(0)
    covered, worlds = 0, 300
    for world in range(worlds):
        totals = random.integers(1, 30, 50)
        of_item = random.beta(8, 2, 50)  # the hits of an item hang together; true share: 0.8
        found = share_of_sums(random.binomial(totals, of_item), totals, seed=world, resamples=400)
        assert found.low <= found.rate <= found.high
        covered += found.low <= 0.8 <= found.high
    assert 0.89 <= covered / worlds <= 0.98
    naive = rate(int(0.8 * 20 * 50), 20 * 50)
    clumped = share_of_sums(np.repeat([20, 0], [40, 10]), np.full(50, 20))
    assert clumped.high - clumped.low > 3 * (naive.high - naive.low)


def test_a_share_of_sums_is_of_all_trials() -> None:
    found = share_of_sums(np.array([1, 0, 3]), np.array([1, 4, 3]))
    assert (found.rate, found.count) == (0.5, 8)
    assert share_of_sums(np.array([2, 4]), np.array([2, 4])) == Rate(1.0, 1.0, 1.0, 6)
    # An item without trials, such as an empty answer, is no item lost.
    assert share_of_sums(np.array([2, 0]), np.array([4, 0])).rate == 0.5


@pytest.mark.parametrize("count", [3, 6, 15])
def test_the_interval_of_few_items_covers_the_ratio(count: int) -> None:
    """A bootstrap over 6 items covers in 85% of cases."""
    generator = np.random.default_rng(count)
    covered = 0
    for _ in range(600):
        before = generator.gamma(4.0, 1.0, count)
        increase, low, high = ratio_of_sums(before * 0.8 + generator.normal(0, 0.5, count), before)
        assert low <= increase <= high
        covered += low <= -0.2 <= high
    assert covered / 600 >= 0.92


def test_one_item_shows_no_change() -> None:
    increase, low, high = ratio_of_sums(np.array([1.0]), np.array([2.0]))
    assert (increase, low, high) == (-0.5, -1.0, 1.0)
