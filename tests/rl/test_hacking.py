"""Best-of-n, the curves of Gao et al. 2022 and where to stop, against published and brute-force values."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.rl.hacking import (
    CurvePoint,
    best_of_n,
    curve_figures,
    fit_curve,
    kl_best_of_n,
    length_figures,
    stop_here,
    suspicious_samples,
)


def test_the_published_divergence_of_best_of_n() -> None:
    """arXiv 2210.10760: log n - (n - 1) / n."""
    values = [kl_best_of_n(n) for n in (1, 2, 4, 16, 64, 256)]
    assert values == pytest.approx([0, 0.193, 0.636, 1.835, 3.175, 4.549], abs=5e-4)


def test_best_of_n_sits_on_its_divergence() -> None:
    """The distribution of the best of n of 6 equally likely answers, by enumeration: with more answers, and so fewer
    ties of a sample with itself, KL comes to log n - (n - 1) / n."""
    for n in (2, 4):
        kls = []
        for answers in (6, 60, 6000):
            at = np.arange(1, answers + 1) / answers
            best = at**n - (at - 1 / answers) ** n
            kls.append(float((best * np.log(best * answers)).sum()))
        assert abs(kls[2] - kl_best_of_n(n)) < 1e-3 < abs(kls[0] - kl_best_of_n(n))


rewards = st.lists(st.tuples(st.integers(-3, 3), st.integers(-9, 9)), min_size=1, max_size=7)


@given(rewards, st.integers(1, 7))
def test_best_of_n_is_the_mean_over_all_subsets(samples: list[tuple[int, int]], n: int) -> None:
    """Unbiased: every subset of n samples has its best, and samples of one proxy are equally often the best."""
    n = min(n, len(samples))
    proxy, gold = np.array([samples], np.float64).transpose(2, 0, 1)
    best = []
    for subset in combinations(samples, n):
        top = max(score for score, _ in subset)
        # Ties are broken at random among all samples of that proxy, as they would be with continuous noise.
        equal = [worth for score, worth in samples if score == top]
        best.append((top, sum(equal) / len(equal)))
    found = [float(values[0]) for values in best_of_n(proxy, gold, n)]
    assert found == pytest.approx(np.mean(best, axis=0).tolist())


def test_best_of_one_is_the_mean_and_best_of_all_the_maximum() -> None:
    proxy, gold = np.array([[1.0, 3.0, 2.0]]), np.array([[5.0, -1.0, 0.0]])
    assert [float(values[0]) for values in best_of_n(proxy, gold, 1)] == pytest.approx([2, 4 / 3])
    assert [float(values[0]) for values in best_of_n(proxy, gold, 3)] == [3, -1]


@pytest.mark.parametrize(
    ("kind", "alpha", "beta", "peak_d", "peak"),
    [("best_of_n", 1.0, 0.3, 1.667, 0.833), ("rl", 1.0, 0.3, 10.31, 3.094), ("best_of_n", 2.0, 0.5, 2.0, 2.0)],
)
def test_the_published_curves_and_their_peaks(kind: Any, alpha: float, beta: float, peak_d: float, peak: float) -> None:
    """Points of R = d (a - b d) and R = d (a - b log d) give back a and b; the peak lies where the curve is highest."""
    d = np.linspace(0, 4, 9)
    gain = d * (alpha - beta * (d if kind == "best_of_n" else np.log(np.maximum(d, 1e-9))))
    fit = fit_curve(kind, d, gain)
    assert fit is not None
    assert (fit.alpha, fit.beta, fit.r_squared) == pytest.approx((alpha, beta, 1.0))
    assert (fit.peak_d, fit.peak) == pytest.approx((peak_d, peak), abs=5e-3)
    fine = np.linspace(0, 20, 200_001)
    assert fine[np.argmax(fit(fine))] == pytest.approx(fit.peak_d, abs=1e-3)
    assert fit(np.array([0.0])).tolist() == [0.0]


def test_a_curve_that_never_falls_has_no_peak_and_two_points_have_no_fit() -> None:
    d = np.array([0.0, 1.0, 2.0, 3.0])
    for kind in ("best_of_n", "rl"):
        fit = fit_curve(kind, d, d * 2)  # type: ignore[arg-type]
        assert fit is not None
        assert fit.alpha == pytest.approx(2)
        rising = fit_curve(kind, d, d * (1 + 0.5 * np.log(np.maximum(d, 1e-9))))  # type: ignore[arg-type]
        assert rising is not None
        assert (rising.peak_d, rising.peak) == (None, None)
    assert fit_curve("rl", d[:3], d[:3]) is None


def point(name: str, kl: float, gold: float, proxy: float = 0.0, spread: float = 0.1) -> CurvePoint:
    noise = np.tile([-spread, spread], 20)
    return CurvePoint(name, kl, np.full(40, proxy), gold + noise)


def test_stop_here_names_the_best_point_where_gold_surely_fell() -> None:
    points = [point("start", 0, 0), point("step 10", 1, 2, 1.0), point("step 20", 4, 1, 3.0)]
    verdict = stop_here(points)
    assert (verdict.best, verdict.overoptimised) == (1, True)
    assert verdict.sentence.startswith("stop at step 10, sqrt(KL) = 1.00: from there the proxy changes by +2.00")
    assert "gold by -1.00" in verdict.sentence


def test_where_the_proxy_falls_too_it_is_no_overoptimisation() -> None:
    verdict = stop_here([point("start", 0, 0), point("step 10", 1, 2, 3.0), point("step 20", 4, 1, 1.0)])
    assert (verdict.best, verdict.gold_fell, verdict.overoptimised) == (1, True, False)
    assert verdict.sentence.endswith("both fall, so it is no overoptimisation: lower the learning rate")


def test_where_gold_does_not_surely_fall_nothing_is_claimed() -> None:
    noise = np.random.default_rng(0).normal(0, 3, 40)
    last = CurvePoint("end", 4, np.zeros(40), 1.9 + noise)
    assert not stop_here([point("start", 0, 0), point("step 10", 1, 2), last]).overoptimised
    rising = stop_here([point("start", 0, 0), point("end", 1, 2)])
    assert rising == (1, False, False, "no overoptimisation is shown: gold is highest at the last point")


def test_gains_are_counted_from_the_first_point_prompt_by_prompt() -> None:
    """The spread between prompts is not in the interval of a gain."""
    spread = np.random.default_rng(0).normal(0, 5, 40)
    points = [CurvePoint(str(n), float(n), spread + n, spread - 2 * n) for n in range(5)]
    figures = curve_figures("rl", points)
    gold = figures["points"][2]["gain"]["gold"]
    assert (gold["mean"], gold["low"], gold["high"]) == pytest.approx((-4, -4, -4))
    assert figures["points"][4]["d"] == 2
    assert figures["verdict"]["best"] == 0
    assert figures["verdict"]["overoptimised"]


def test_a_reward_that_pays_for_length_shows_a_slope_above_zero_within_prompts() -> None:
    random = np.random.default_rng(0)
    prompt = np.repeat(np.arange(50), 8)
    words = random.integers(5, 60, 400) + 10.0 * prompt
    # Prompts with long answers have low rewards: across prompts the sign would be wrong.
    reward = 0.05 * words - 2 * prompt + random.normal(0, 0.1, 400)
    assert np.corrcoef(reward, words)[0, 1] < 0
    found = length_figures(reward, words, prompt)
    assert found["slope"]["low"] < 0.5 < found["slope"]["high"]
    assert found["slope"]["low"] > 0.49
    assert found["correlation"] > 0.9
    assert length_figures(reward, np.full(400, 7.0), prompt) == {"slope": None, "correlation": None}


def test_samples_that_the_proxy_likes_and_gold_does_not_come_first() -> None:
    rows = [{"answer": a, "proxy": p, "gold": g} for a, p, g in (("good", 9, 9), ("hack", 9, 0), ("bad", 0, 0))]
    shown = suspicious_samples(rows, 2)
    assert [row["answer"] for row in shown] == ["hack", "good"]
    assert shown[0]["gap"] == pytest.approx(2**0.5 / 2 + 2**0.5 / 2, abs=0.01)
    assert suspicious_samples([], 3) == []
    assert math.isfinite(suspicious_samples([{"proxy": 1.0, "gold": 2.0}], 1)[0]["gap"])
