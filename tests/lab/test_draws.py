from __future__ import annotations

import numpy as np
import pytest

from tutelage.lab.draws import drawn, over_items, over_seeds, within
from tutelage.lab.estimates import Estimate
from tutelage.lab.verdict import Effect, decide

CONTROL = Effect("control", Estimate(0.5, 0.4, 0.6), [0.5, 0.5])


@pytest.mark.parametrize(
    ("value", "verdict"), [(0.5, "reproduced"), (0.9, "contradicted"), (0.36, "not at this scale")]
)
def test_a_quantity_between_two_bounds_is_one_effect(value: float, verdict: str) -> None:
    draws = value + np.linspace(-0.02, 0.02, 1000)
    by_seed = [value - 0.005, value + 0.005]
    assert decide([within("x", value, draws, by_seed, 0.35, 0.65)], CONTROL)[0] == verdict


def test_an_interval_holds_its_value() -> None:
    estimate = drawn(1.0, np.array([2.0, 3.0]))
    assert (estimate.low, estimate.high) == (1.0, pytest.approx(2.975))
    assert str(drawn(-1234.5, np.array([-1234.5]))) == "−1.23e+03 (−1.23e+03 to −1.23e+03)"


def test_items_are_drawn_together_for_all_seeds() -> None:
    seeds = [np.array([[0.0, 1.0, 2.0], [1.0, 2.0, 3.0]]), np.array([[0.0, 1.0, 2.0], [2.0, 3.0, 4.0]])]

    def gap(arrays: list[np.ndarray]) -> float:
        return float(np.mean([one[1].mean() - one[0].mean() for one in arrays]))

    value, draws, by_seed = over_items(gap, seeds, draws=50)
    assert (value, by_seed) == (1.5, [1.0, 2.0])
    assert np.allclose(draws, 1.5), "a gap that all items share has no spread"


def test_three_seeds_have_students_interval() -> None:
    values = np.array([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]])
    draws = over_seeds(values)
    low, high = np.quantile(draws[0], (0.025, 0.975))
    assert (high - low) / 2 == pytest.approx(4.303 / np.sqrt(3), rel=0.1)
    assert np.allclose(draws[1], 5)
    assert np.allclose(over_seeds(np.array([2.0])), 2)
