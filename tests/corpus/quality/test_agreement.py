"""Agreement of scores: the figures against those worked out slowly, the intervals against many repetitions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.corpus.quality.agreement import Figure, area, f1, ranks, spearman

pairs = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=30).filter(
    lambda rows: len({good for _, good in rows}) == 2
)


@given(pairs)
def test_the_area_is_how_often_good_ones_are_above(rows: list[tuple[int, bool]]) -> None:
    scores, good = np.array([row[0] for row in rows], float), np.array([row[1] for row in rows])
    compared = [(a > b) + (a == b) / 2 for a in scores[good] for b in scores[~good]]
    found = area(scores, good)
    assert found.value == pytest.approx(np.mean(compared))
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.high - found.low > 0


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40))
def test_ranks_are_mean_places(values: list[int]) -> None:
    ordered = sorted(values)
    wanted = [np.mean([place for place, one in enumerate(ordered, 1) if one == value]) for value in values]
    np.testing.assert_allclose(ranks(np.array(values)), wanted)


def test_a_correlation_of_ranks_sees_order_alone() -> None:
    first = np.arange(30.0)
    assert spearman(first, np.exp(first)).value == pytest.approx(1)
    assert spearman(first, -(first**3)).value == pytest.approx(-1)


@given(
    st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40).filter(
        lambda rows: any(g for _, g in rows)
    )
)
def test_f1_is_the_mean_of_precision_and_recall(rows: list[tuple[bool, bool]]) -> None:
    chosen, good = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    hits = (chosen & good).sum()
    recall = hits / good.sum()
    precision = hits / chosen.sum() if chosen.any() else 0
    found = f1(chosen, good)
    assert found.value == pytest.approx(2 * precision * recall / (precision + recall) if hits else 0)
    assert 0 <= found.low <= found.value <= found.high <= 1


def normal(draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    wanted = draw.normal(size=200)
    return wanted, wanted + draw.normal(size=200)


def measured(found: Callable[[np.ndarray, np.ndarray], Figure]) -> float:
    """How often the interval of 200 items holds the figure of very many."""
    draw = np.random.default_rng(0)
    many = [np.concatenate(parts) for parts in zip(*(normal(draw) for _ in range(500)), strict=True)]
    truth = found(many[0], many[1]).value
    held = [found(*normal(draw)) for _ in range(400)]
    return float(np.mean([one.low <= truth <= one.high for one in held]))


@pytest.mark.parametrize(
    "found",
    [
        lambda wanted, scores: area(scores, wanted > 0.5),
        spearman,
        lambda wanted, scores: f1(scores > 0.5, wanted > 0.5),
    ],
    ids=["area", "spearman", "f1"],
)
def test_intervals_hold_what_they_promise(found: Callable[[np.ndarray, np.ndarray], Figure]) -> None:
    assert 0.92 <= measured(found) <= 0.98
