from __future__ import annotations

import numpy as np
import pytest

from tutelage.scaling.mixture import choose_mixture, matched_unique
from tutelage.scaling.repetition import token_value

# A source of 1B good tokens and one without end; the large run reads 100B tokens, the small ones 200M.
UNIQUE, TARGET, SMALL = 1e9, 100e9, 200e6
SHARES = np.stack([np.linspace(0.1, 0.9, 17), 1 - np.linspace(0.1, 0.9, 17)], 1)


def loss(shares: np.ndarray, tokens: float, unique: float) -> np.ndarray:
    """Both sources teach a skill each, the good one the larger part; repeated tokens lose value."""
    good = shares[:, 0] * tokens
    good = good * token_value(good / unique)
    return 2 + 7 * (good / tokens) ** -0.3 + 1 * shares[:, 1] ** -0.3


def truth() -> float:
    fine = np.linspace(0.001, 0.999, 9999)
    return float(fine[loss(np.stack([fine, 1 - fine], 1), TARGET, UNIQUE).argmin()])


def test_small_runs_that_repeat_as_the_large_one_find_its_mixture() -> None:
    """Pain: a mixture tuned where nothing is repeated takes too much of the scarce source."""
    matched = matched_unique(UNIQUE, SMALL, TARGET)
    assert matched == UNIQUE / 500
    found = choose_mixture(["good", "web"], SHARES, loss(SHARES, SMALL, matched), "tokenizer", bootstraps=50)
    assert found.shares["good"].value == pytest.approx(truth(), abs=0.05)
    assert found.at_edge == []
    naive = choose_mixture(["good", "web"], SHARES, loss(SHARES, SMALL, UNIQUE), "tokenizer", bootstraps=50)
    assert naive.shares["good"].value > truth() + 0.2


def test_noise_gives_intervals_and_edges_are_named() -> None:
    rng = np.random.default_rng(0)
    noisy = loss(SHARES, SMALL, UNIQUE) + 0.01 * rng.standard_normal(len(SHARES))
    found = choose_mixture(["good", "web"], SHARES, noisy, "tokenizer")
    good = found.shares["good"]
    assert good.low < good.value < good.high
    assert good.value + found.shares["web"].value == pytest.approx(1)
    falling = choose_mixture(["good", "web"], SHARES, 3 - SHARES[:, 0], "tokenizer", bootstraps=20)
    assert falling.at_edge == ["good", "web"]


def test_shares_that_are_no_mixtures_are_refused() -> None:
    with pytest.raises(ValueError, match="must be above 0 and add up to 1"):
        choose_mixture(["a", "b"], np.array([[0.5, 0.6]] * 6), np.ones(6), "t")
    with pytest.raises(ValueError, match="4 runs do not determine a mixture of 2 sources; train at least 5"):
        choose_mixture(["a", "b"], SHARES[:4], np.ones(4), "t")
