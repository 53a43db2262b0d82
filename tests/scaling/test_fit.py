from __future__ import annotations

import math

import numpy as np
import pytest

from tests.scaling.surfaces import points, surface
from tutelage.scaling.fit import decades_beyond, fit_chinchilla, fit_power_law, frontier, predict
from tutelage.scaling.laws import BESIROGLU, HOFFMANN_PRINTED, HOFFMANN_TEX, KAPLAN, Chinchilla
from tutelage.scaling.points import drop_lowest_ratios


@pytest.mark.parametrize("law", [HOFFMANN_PRINTED, HOFFMANN_TEX, BESIROGLU], ids=["printed", "tex", "besiroglu"])
def test_an_exact_surface_gives_its_constants(law: Chinchilla) -> None:
    fit = fit_chinchilla(surface(law), bootstraps=20)
    assert np.allclose(fit.constants, law, rtol=1e-8)
    assert fit.objective < 1e-20
    assert fit.converged
    assert fit.agreeing == fit.starts == 36


def test_outliers_move_the_exponents_little() -> None:
    """The Huber loss bounds what a point can do: 5% of the points are 30% off."""
    with_outliers = surface(BESIROGLU, noise=0.003)
    with_outliers.loss[::20] *= 1.3
    fit = fit_chinchilla(with_outliers, bootstraps=20)
    assert fit.constants.alpha == pytest.approx(BESIROGLU.alpha, abs=0.02)
    assert fit.constants.beta == pytest.approx(BESIROGLU.beta, abs=0.02)


def coverage(surfaces: int, sizes: int, ratios: int) -> np.ndarray:
    """How often the interval of each constant and of the exponent of N holds the truth, float64 [6]."""
    exponent = BESIROGLU.beta / (BESIROGLU.alpha + BESIROGLU.beta)
    inside = np.zeros(6)
    for seed in range(surfaces):
        fit = fit_chinchilla(surface(BESIROGLU, sizes, ratios, 0.01, seed), bootstraps=200, seed=seed)
        intervals = list(fit.to_plain()["constants"].values())
        intervals.append(fit.to_plain()["optimal_exponents"]["N"])
        truths = (*BESIROGLU, exponent)
        inside += [found.low <= truth <= found.high for found, truth in zip(intervals, truths, strict=True)]
    return inside / surfaces


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    assert 0.92 <= coverage(30, 12, 10).mean() <= 0.98


@pytest.mark.slow
@pytest.mark.timeout(900)  # a minute of one core
def test_every_interval_holds_the_truth_on_400_surfaces() -> None:
    """Measured: E 97.8%, A 96.5%, B 98.0%, alpha 96.8%, beta 98.5% (wider than it needs to be), exponent of N 96.5%."""
    each = coverage(400, 16, 15)
    assert 0.92 <= each.mean() <= 0.98
    assert (each >= 0.92).all()
    assert (each <= 0.99).all()


def test_a_result_names_its_convention_and_what_it_left_out() -> None:
    kept = drop_lowest_ratios(surface(BESIROGLU, 5, 5, noise=0.01), 3)
    plain = fit_chinchilla(kept, bootstraps=20).to_plain()
    assert plain["count_of_N"] == "total"
    assert plain["points"] == 22
    assert plain["dropped"] == {"fewest tokens per parameter": 3}
    assert plain["constants"]["alpha"].low < plain["constants"]["alpha"].high


def test_a_prediction_has_an_interval_that_widens_with_its_distance() -> None:
    """8B on 15T tokens has 1,875 tokens a parameter, far outside of Chinchilla's data."""
    fit = fit_chinchilla(surface(BESIROGLU, noise=0.01), bootstraps=100)
    near, far = predict(fit, 1e9, 2e10), predict(fit, 8e9, 15e12)
    assert set(near["decades_beyond"].values()) == {0.0}
    assert far["decades_beyond"]["tokens_per_parameter"] == pytest.approx(math.log10(1875 / 200))
    assert far["decades_beyond"]["tokens"] == pytest.approx(math.log10(15e12 / 2e12))
    assert near["loss"].low < BESIROGLU.loss(1e9, 2e10) < near["loss"].high
    assert far["loss"].high - far["loss"].low > near["loss"].high - near["loss"].low
    assert decades_beyond(1e3, 1e5, 1e6) == pytest.approx(2)


def test_too_few_points_are_refused_in_one_sentence() -> None:
    with pytest.raises(
        ValueError, match="5 points with 5 sizes and 5 numbers of tokens do not determine five constants"
    ):
        fit_chinchilla(points(BESIROGLU, np.geomspace(1e8, 1e9, 5), np.geomspace(1e9, 1e10, 5), 0, 0))
    with pytest.raises(ValueError, match="with 2 sizes"):
        fit_chinchilla(surface(BESIROGLU, 2, 8))


def test_a_loss_that_rises_with_the_parameters_is_refused() -> None:
    """Pain: models that had a few steps only, the larger the fewer, gave a negative exponent and complex optima."""
    parameters, tokens = (axis.ravel() for axis in np.meshgrid(np.geomspace(1e5, 1e6, 5), np.geomspace(1e5, 1e7, 5)))
    risen = points(BESIROGLU, parameters, tokens, 0, 0)
    risen.loss[:] = 3 + 1e-3 * parameters**0.5 + 100 * tokens**-0.5
    with pytest.raises(ValueError, match="does not fall with parameters"):
        fit_chinchilla(risen, bootstraps=20)


@pytest.mark.parametrize("axis", KAPLAN)
def test_kaplans_laws_are_recovered(axis: str) -> None:
    law = KAPLAN[axis]
    x = np.geomspace(1e5, 1e10, 12)
    fit = fit_power_law(x, np.asarray(law.loss(x)), bootstraps=10)
    assert fit.law.exponent == pytest.approx(law.exponent, rel=1e-8)
    assert fit.law.scale == pytest.approx(law.scale, rel=1e-6)


def test_a_power_law_with_a_floor() -> None:
    x = np.geomspace(1e5, 1e10, 20)
    fit = fit_power_law(x, 1.5 + (1e6 / x) ** 0.3, with_floor=True, bootstraps=10)
    assert fit.floor == pytest.approx(1.5, rel=1e-6)
    assert fit.law.exponent == pytest.approx(0.3, rel=1e-6)
    assert fit.law.scale == pytest.approx(1e6, rel=1e-5)
    assert "floor" in fit.to_plain()


def test_the_frontier_has_no_point_that_another_beats() -> None:
    whole = surface(BESIROGLU, 6, 6, noise=0.01)
    best = frontier(whole)
    assert 1 < len(best) < len(whole)
    for compute, loss in zip(best.compute, best.loss, strict=True):
        assert not ((whole.compute <= compute) & (whole.loss < loss)).any()
