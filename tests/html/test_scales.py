from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tutelage.html import ticks
from tutelage.html.scales import Scale, span, thin, tick_labels

ANY = st.floats(-1e15, 1e15)
POSITIVE = st.floats(1e-12, 1e12)


@given(ANY, ANY)
def test_ticks_are_round_and_inside(low: float, high: float) -> None:
    assume(high - low > 1e-9 * max(abs(low), abs(high)) and high - low > 1e-12)
    tick_values = ticks(low, high)
    slack = 1e-6 * (high - low)
    assert 2 <= len(tick_values) <= 12
    assert all(low - slack <= tick <= high + slack for tick in tick_values)
    steps = np.diff(tick_values)
    assert steps == pytest.approx(steps[0], rel=1e-3)
    assert float(f"{steps[0]:.0e}"[0]) in (1, 2, 5)


@given(POSITIVE, POSITIVE)
def test_logarithmic_ticks_are_round_and_inside(low: float, high: float) -> None:
    assume(high > 1.2 * low)
    tick_values = ticks(low, high, log=True)
    assert 1 <= len(tick_values) <= 12
    assert tick_values == sorted(set(tick_values))
    assert all(low * 0.999 <= tick <= high * 1.001 for tick in tick_values)
    if high / low > 3:
        assert all(f"{tick:e}"[0] in "125" for tick in tick_values)


def test_ticks_of_known_axes() -> None:
    assert ticks(0, 1, 5) == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert ticks(0, 0.3, 3) == [0, 0.1, 0.2, 0.3]
    assert ticks(1, 1000, log=True) == [1, 10, 100, 1000]
    assert ticks(1, 30, log=True) == [1, 2, 5, 10, 20]


@pytest.mark.parametrize(("low", "high", "log"), [(1, 1, False), (2, 1, False), (0, 1, True), (0, math.inf, False)])
def test_an_axis_that_cannot_be_is_refused(low: float, high: float, log: bool) -> None:
    with pytest.raises(ValueError, match="no axis"):
        ticks(low, high, log=log)


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([0, 0.5, 1], ["0", "0.5", "1.0"]),
        ([-500, 0, 500, 1000, 1500], ["−500", "0", "500", "1,000", "1,500"]),
        ([0, 5000, 10000, 15000], ["0", "5k", "10k", "15k"]),
        ([0, 20000, 40000], ["0", "20k", "40k"]),
        ([0, 500_000, 1_000_000], ["0", "0.5M", "1.0M"]),
        ([0, 1e-4, 2e-4], ["0", "1e-4", "2e-4"]),
        ([1000.0, 1000.5], ["1,000.0", "1,000.5"]),
    ],
)
def test_labels_are_short_and_tell_ticks_apart(values: list[float], labels: list[str]) -> None:
    assert tick_labels(values) == labels


def test_labels_of_decades_and_shares() -> None:
    assert tick_labels([1e-5, 1e-3, 0.1], log=True) == ["1e-5", "1e-3", "0.1"]
    assert tick_labels([0.01, 1, 1000, 1e5], log=True) == ["0.01", "1", "1,000", "100k"]
    assert tick_labels([1e11, 1e12, 1e13], log=True) == ["100B", "1e12", "1e13"]
    assert tick_labels([0, 0.25, 0.5], percent=True) == ["0%", "25%", "50%"]
    assert tick_labels([0.01, 0.015], percent=True) == ["1.0%", "1.5%"]


@given(ANY, ANY)
def test_labels_of_different_ticks_differ(low: float, high: float) -> None:
    assume(high - low > 1e-4 * max(abs(low), abs(high)) and high - low > 1e-9)
    labels = tick_labels(ticks(low, high))
    assert len(set(labels)) == len(labels)


@given(st.lists(st.floats() | st.sampled_from([0.0, 1.0]), max_size=8), st.booleans())
def test_every_axis_has_a_length(values: list[float], log: bool) -> None:
    low, high = span(np.array(values, np.float64), log, margin=0.05)
    assert low < high
    assert math.isfinite(high - low)
    ticks(low, high, log=log)


def test_a_log_scale_has_no_place_for_values_without_a_logarithm() -> None:
    places = Scale(1, 100, 0, 10, log=True)(np.array([1, 10, 100, 0, -1]))
    assert places[:3] == pytest.approx([0, 5, 10])
    assert np.isnan(places[3:]).all()
    assert Scale(0, 4, 100, 0)(1) == 75


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300), st.floats(0.01, 50))
def test_thinning_keeps_the_ends_and_every_extreme(heights: list[float], width: float) -> None:
    y, x = np.array(heights), np.linspace(0, 100, len(heights))
    kept = thin(x, (y,), width)
    assert (np.diff(kept) > 0).all()
    assert kept[0] == 0
    assert kept[-1] == len(y) - 1
    for column in range(math.ceil(100 / width) + 1):
        inside = np.floor(x / width) == column
        if inside.any():
            drawn = np.zeros(len(x), bool)
            drawn[kept] = True
            assert y[inside & drawn].max() == y[inside].max()
            assert y[inside & drawn].min() == y[inside].min()
            assert (inside & drawn).sum() <= 4
