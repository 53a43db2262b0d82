"""Fits to published tables, to three digits. The tables have no licence, so that they are read from the folder of data:
`scaling_laws/svg_extracted_data.csv` (github.com/Besiroglu/data) and `scaling_laws/isoflops.csv`
(github.com/Open-Athena/scaling-law-analysis, data/isoflops/transform)."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tutelage.scaling.fit import fit_chinchilla
from tutelage.scaling.huber import huber
from tutelage.scaling.isoflop import fit_isoflop
from tutelage.scaling.laws import BESIROGLU, HOFFMANN_PRINTED, HOFFMANN_TEX, Chinchilla
from tutelage.scaling.points import Points, drop_lowest_ratios, points_of


@pytest.fixture
def hoffmann(data: Callable[[str], Path]) -> Points:
    """245 trainings read from a figure of Hoffmann et al. 2022."""
    with data("scaling_laws/svg_extracted_data.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = {"parameters": "Model Size", "flops": "Training FLOP", "loss": "loss"}
    plain = [{name: float(row[column]) for name, column in names.items()} for row in rows]
    return points_of([{**row, "tokens": row["flops"] / 6 / row["parameters"]} for row in plain], "the table")


def objective(law: Chinchilla, points: Points) -> float:
    return float(huber(np.log(law.loss(points.parameters, points.tokens)) - np.log(points.loss)).sum())


def test_chinchillas_points(hoffmann: Points) -> None:
    """Of 240 points; published: E 1.8172 (.03), A 482 (125), B 2085 (1293), alpha .3478 (.02), beta .3658 (.02)."""
    kept = drop_lowest_ratios(hoffmann, 5)
    fit = fit_chinchilla(kept)
    assert (len(hoffmann), len(kept)) == (245, 240)
    assert fit.converged
    assert fit.constants == pytest.approx((1.8172, 477.8, 2143.4, 0.34731, 0.36717), rel=1e-4)
    assert fit.objective == pytest.approx(1.018274e-3, rel=1e-6)
    plain = fit.to_plain()
    errors = {name: found.error for name, found in plain["constants"].items()}
    assert (errors["E"], errors["alpha"], errors["beta"]) == pytest.approx((0.0250, 0.0152, 0.0192), rel=0.1)
    share = plain["optimal_exponents"]["N"]
    assert share.value == pytest.approx(0.5139, abs=1e-4)
    assert share.error == pytest.approx(0.0190, rel=0.1)
    assert (share.low, share.high) == pytest.approx((0.4835, 0.5542), abs=6e-3)
    for law, at in ((BESIROGLU, 1.0228e-3), (HOFFMANN_TEX, 1.2353e-3), (HOFFMANN_PRINTED, 4.1210e-3)):
        assert objective(law, kept) == pytest.approx(at, rel=1e-3)


def test_five_of_chinchillas_points_move_beta(hoffmann: Points) -> None:
    constants = fit_chinchilla(hoffmann, bootstraps=20).constants
    assert (constants.E, constants.alpha, constants.beta) == pytest.approx((1.8913, 0.3493, 0.4530), abs=1e-4)
    assert math.isfinite(objective(constants, hoffmann))


@pytest.mark.parametrize(
    ("experiment", "exponent"),
    [
        ("epochai_chinchilla__massivetext__chinchilla", (0.541,)),
        ("llama_3__", (0.495, 0.500)),
        ("marin_202603__", (0.426, 0.444)),
        ("misfitting__fineweb_c4__transformer", (0.523,)),
    ],
)
def test_isoflop_exponents_of_published_tables(
    data: Callable[[str], Path], experiment: str, exponent: tuple[float, ...]
) -> None:
    """Of the tables whose name begins so, the lowest and the highest; rows flagged as outliers are dropped."""
    with data("scaling_laws/isoflops.csv").open() as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if row["experiment"].startswith(experiment) and row["outlier"] == "False"
        ]
    names = {"parameters": "params", "tokens": "tokens", "loss": "loss", "budget": "budget"}
    found = []
    for table in sorted({row["experiment"] for row in rows}):
        own = [
            {name: float(row[column]) for name, column in names.items()} for row in rows if row["experiment"] == table
        ]
        found.append(fit_isoflop(points_of(own, table), bootstraps=20).exponent)
    assert (min(found), max(found)) == pytest.approx((exponent[0], exponent[-1]), abs=2e-3)
