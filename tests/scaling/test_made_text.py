"""Made text on surfaces whose value of a made token is known."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.scaling.surfaces import points
from tutelage.scaling.analysis import analyse
from tutelage.scaling.laws import BESIROGLU
from tutelage.scaling.lines import analysis_lines
from tutelage.scaling.made_text import fit_made
from tutelage.scaling.points import Points, read_points, write_points

SHARES = (0.0, 0.15, 0.3, 0.6, 1.0)
P, Q = 4.0, -6.0  # the best share is a third, and made text alone is worse than none: exp(-2)


def value(share: np.ndarray | float) -> np.ndarray:
    return np.exp(P * np.asarray(share) + Q * np.asarray(share) ** 2)


def with_shares(sizes: tuple[float, ...], noise: float = 0.0) -> Points:
    grid = np.meshgrid(sizes, np.geomspace(1e9, 1e11, 6), SHARES)
    parameters, tokens, made = (axis.ravel() for axis in grid)
    effective = points(BESIROGLU, parameters, tokens * value(made), noise, 0)
    return replace(effective, tokens=tokens, compute=6 * parameters * tokens, made=made)


@pytest.mark.parametrize("sizes", [(1e8,), (1e8, 3e8, 1e9)], ids=["one size", "sizes"])
def test_the_value_of_made_text_is_recovered(sizes: tuple[float, ...]) -> None:
    fit = fit_made(with_shares(sizes), bootstraps=20)
    for share in SHARES:
        assert fit.value[share].value == pytest.approx(float(value(share)), rel=1e-6)
    assert fit.best.value == pytest.approx(1 / 3, abs=2e-3)
    assert fit.at_best.value == pytest.approx(math.exp(2 / 3), rel=1e-4)
    assert fit.beta.value == pytest.approx(BESIROGLU.beta, rel=1e-6)
    assert fit.converged and not fit.at_edge


def test_noise_gives_intervals_that_hold_the_truth() -> None:
    fit = fit_made(with_shares((1e8, 3e8, 1e9), noise=0.003))
    assert fit.best.low < 1 / 3 < fit.best.high
    assert fit.at_best.low < math.exp(2 / 3) < fit.at_best.high
    assert fit.value[1.0].high < 1
    assert fit.at_best.high / fit.at_best.low < 1.5


def test_a_table_with_a_column_of_shares_is_fitted_and_the_laws_leave_made_text_out(tmp_path: Path) -> None:
    table, path = with_shares((1e8, 3e8, 1e9)), tmp_path / "points.csv"
    columns = zip(table.parameters, table.tokens, table.loss, table.made, strict=True)  # type: ignore[arg-type]
    write_points(path, [{"parameters": n, "tokens": d, "loss": loss, "made": made} for n, d, loss, made in columns])
    analysis = analyse(read_points(path), bootstraps=20)
    assert analysis.chinchilla is not None
    assert analysis.chinchilla.constants.beta == pytest.approx(BESIROGLU.beta, rel=1e-6)
    assert analysis.points.dropped == {"made text in the training text": 72}
    assert analysis.to_plain()["made"]["best_share"].value == pytest.approx(1 / 3, abs=2e-3)
    lines = list(analysis_lines(analysis))
    assert "made text, 90 points: best share 0.33" in "\n".join(lines)
    assert any(line.startswith("  at a share of 1: 0.135") for line in lines)


def test_too_few_shares_and_wrong_ones_are_refused() -> None:
    table = with_shares((1e8,))
    assert table.made is not None
    with pytest.raises(ValueError, match=r"18 points with 3 shares of made text from 0\.3 do not determine"):
        fit_made(table.take(np.flatnonzero(table.made >= 0.3), "x"))
    with pytest.raises(ValueError, match="with 2 shares"):
        fit_made(table.take(np.flatnonzero(table.made <= 0.15), "x"))


def test_a_share_is_a_fraction(tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    path.write_text("parameters,tokens,loss,made\n1,2,3,30\n")
    with pytest.raises(ValueError, match="the column made holds 30; it is a share from 0 to 1"):
        read_points(path)
