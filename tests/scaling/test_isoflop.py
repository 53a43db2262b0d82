from __future__ import annotations

import numpy as np
import pytest

from tests.scaling.surfaces import isoflop_surface, points
from tutelage.scaling.isoflop import budgets_of, fit_isoflop, parabola_bias
from tutelage.scaling.laws import BESIROGLU, HOFFMANN_PRINTED, Chinchilla
from tutelage.scaling.optimum import compute_optimal
from tutelage.scaling.parabola import power_through

BUDGETS = [1e19, 1e20, 1e21, 1e22]


@pytest.mark.parametrize(
    ("law", "published"),
    [(HOFFMANN_PRINTED, (1.004, 1.014, 1.040)), (BESIROGLU, (0.999, 0.996, 0.988))],
    ids=["printed", "besiroglu"],
)
def test_the_bias_of_a_parabola(law: Chinchilla, published: tuple[float, ...]) -> None:
    """N of the minimum relative to the truth, for grids of 0.3, 0.6 and 1 decade to each side."""
    assert [parabola_bias(law, decades) for decades in (0.3, 0.6, 1.0)] == pytest.approx(published, abs=6e-4)


def test_the_exponent_of_an_exact_surface_is_exact_for_equal_grids_about_the_optimum() -> None:
    """Only the level has the bias, so that it reaches 3.8e25, four decades on, unchanged."""
    fit = fit_isoflop(isoflop_surface(HOFFMANN_PRINTED, BUDGETS, np.linspace(-0.6, 0.6, 9)), bootstraps=50)
    assert fit.exponent == pytest.approx(0.28 / 0.62, rel=1e-6)
    size, decades = fit.optimal_parameters(3.8e25)
    truth = compute_optimal(HOFFMANN_PRINTED, 3.8e25).parameters
    assert size.value / truth == pytest.approx(parabola_bias(HOFFMANN_PRINTED, 0.6), rel=1e-6)
    assert decades == pytest.approx(np.log10(3.8e3))


def test_the_interval_holds_the_truth_and_widens_with_noise() -> None:
    around = np.linspace(-0.5, 0.5, 7)
    little = fit_isoflop(isoflop_surface(BESIROGLU, BUDGETS, around, noise=0.001)).to_plain()["exponent_of_N"]
    much = fit_isoflop(isoflop_surface(BESIROGLU, BUDGETS, around, noise=0.005)).to_plain()["exponent_of_N"]
    assert little.low < 0.5126 < little.high
    assert much.low < 0.5126 < much.high
    assert much.high - much.low > 2 * (little.high - little.low)


@pytest.mark.parametrize(
    ("count", "optima", "exponent"),
    [
        ("matrices and head", [110_678_115, 167_797_457, 250_650_865, 381_758_347], 0.524),
        ("all", [416_320_605, 560_239_841, 741_495_903, 988_644_331], 0.366),
        ("no head", [80_259_665, 131_488_566, 220_985_474, 401_213_504], 0.681),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_n_counts_decides_the_exponent(count: str, optima: list[int], exponent: float) -> None:
    """The optima of one ladder, counted in three ways (karpathy/nanochat, dev/LOG.md, MIT licence)."""
    found, _ = power_through(np.array([1e18, 2e18, 5e18, 1e19]), np.log(optima))
    assert found == pytest.approx(exponent, abs=5e-4), count


def test_a_minimum_outside_of_the_models_is_named() -> None:
    """All models of the last budget are larger than its optimum."""
    shifted = isoflop_surface(BESIROGLU, BUDGETS[:3], np.linspace(-0.3, 0.3, 5))
    large = isoflop_surface(BESIROGLU, [1e22], np.linspace(0.1, 1.0, 5))
    both = points(
        BESIROGLU,
        np.concatenate([shifted.parameters, large.parameters]),
        np.concatenate([shifted.tokens, large.tokens]),
        0.0,
        0,
    )
    curves = fit_isoflop(both, bootstraps=10).to_plain()["curves"]
    assert [curve["inside"] for curve in curves] == [True, True, True, False]


def test_budgets_without_a_parabola_are_counted() -> None:
    few = isoflop_surface(BESIROGLU, BUDGETS, np.linspace(-0.3, 0.3, 5))
    kept = few.take(np.arange(17), "test")
    fit = fit_isoflop(kept, bootstraps=10)
    assert fit.skipped == {"budgets with fewer than 4 sizes": 1}
    with pytest.raises(ValueError, match="two budgets with at least 4 sizes each"):
        fit_isoflop(few.take(np.arange(8), "test"))


def test_compute_within_a_tenth_is_one_budget() -> None:
    near = points(BESIROGLU, np.array([1e8, 2e8, 1e8, 2e8]), np.array([1e9, 0.52e9, 1e10, 5e9]), 0, 0)
    budgets = budgets_of(near)
    assert budgets[0] == budgets[1] != budgets[2] == budgets[3]
