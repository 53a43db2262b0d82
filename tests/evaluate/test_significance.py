from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.evaluate.significance import (
    clustered_difference,
    clustered_mean,
    holm,
    macro_micro,
    mcnemar,
    paired_bootstrap,
)


@pytest.mark.parametrize(("gained", "lost", "p_value"), [(15, 5, 0.0414), (9, 1, 0.0215), (3, 3, 1.0), (0, 0, 1.0)])
def test_pain_e18_paired_items_get_a_paired_test(gained: int, lost: int, p_value: float) -> None:
    """lm-eval #3831: an unpaired z gave p .080 where the paired test gives .008."""
    assert mcnemar(gained, lost) == pytest.approx(p_value, abs=5e-5)
    assert mcnemar(lost, gained) == mcnemar(gained, lost)


def test_mcnemar_of_many_items_neither_overflows_nor_vanishes() -> None:
    assert 0 < mcnemar(5200, 4800) < 1e-4
    # The normal approximation with continuity correction is close for many discordant items.
    z = (abs(5200 - 4800) - 1) / math.sqrt(10_000)
    assert mcnemar(5200, 4800) == pytest.approx(math.erfc(z / math.sqrt(2)), rel=0.02)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_rejects_what_its_step_down_rule_rejects(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    rejected, order = set(), sorted(range(len(p_values)), key=lambda place: p_values[place])
    for rank, place in enumerate(order):
        if p_values[place] * (len(p_values) - rank) > 0.05:
            break
        rejected.add(place)
    assert {place for place, value in enumerate(adjusted) if value <= 0.05} == rejected
    assert all(value >= p for value, p in zip(adjusted, p_values, strict=True))


def test_holm_has_its_published_example() -> None:
    """R's p.adjust(c(.01, .02, .03, .04), "holm")."""
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])


def test_clustered_errors_are_wider_where_the_items_of_a_group_go_together() -> None:
    rng = np.random.default_rng(0)
    group_G = rng.integers(0, 2, 100)
    values_N, groups = np.repeat(group_G, 10).astype(float), [str(number // 10) for number in range(1000)]
    clustered = clustered_mean(values_N, groups)
    alone = clustered_mean(values_N, [str(number) for number in range(1000)])
    # Ten copies of each item tell as much as one.
    assert clustered["error"] == pytest.approx(group_G.std(ddof=1) / 10)
    assert clustered["error"] == pytest.approx(alone["error"] * math.sqrt(10), rel=0.01)
    assert clustered["low"] < clustered["mean"] < clustered["high"]


def test_the_interval_of_a_difference_covers_the_truth_of_grouped_items() -> None:
    rng = np.random.default_rng(1)
    held, tried = {"cluster": 0, "bootstrap": 0}, 200
    groups = [str(number // 5) for number in range(200)]
    for seed in range(tried):
        shared_N = np.repeat(rng.normal(0.2, 1, 40), 5) + rng.normal(0, 0.5, 200)
        zero_N = np.zeros(200)
        for name, found in (
            ("cluster", clustered_difference(zero_N, shared_N, groups)),
            ("bootstrap", paired_bootstrap(zero_N, shared_N, groups, seed, 200)),
        ):
            held[name] += found.low <= 0.2 <= found.high
    assert all(0.88 < count / tried <= 1 for count in held.values())


def test_pain_e19_macro_and_micro_are_both_given_and_named() -> None:
    """hendrycks/test #29, lm-eval #1521: one subject of 300 items right, one of 100 wrong."""
    values_N, sets = np.array([1.0] * 300 + [0.0] * 100), ["a"] * 300 + ["b"] * 100
    assert macro_micro(values_N, sets) == {"micro": 0.75, "macro": 0.5}


def test_one_group_has_no_interval() -> None:
    with pytest.raises(ValueError, match="two groups"):
        clustered_mean(np.ones(4), ["a"] * 4)
    with pytest.raises(ValueError, match="two groups"):
        paired_bootstrap(np.ones(4), np.zeros(4), ["a"] * 4)
