from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from tests.scaling.surfaces import isoflop_surface
from tutelage.scaling.laws import BESIROGLU
from tutelage.scaling.points import write_points

Verb = Callable[..., Result]
Refused = Callable[..., str]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four budgets with nine sizes each, on Besiroglu's surface."""
    points = isoflop_surface(BESIROGLU, [1e19, 1e20, 1e21, 1e22], np.linspace(-0.6, 0.6, 9), noise=0.003)
    path = tmp_path_factory.mktemp("points") / "points.csv"
    columns = zip(points.parameters, points.tokens, points.loss, strict=True)
    write_points(path, [{"parameters_total": n, "tokens": d, "loss": loss} for n, d, loss in columns])
    return path


def test_fit_prints_intervals_distances_and_the_count(verb: Verb, table: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    result = verb(
        "scaling", "fit", table, "--at", "3.8e25", "--model", "8e9:15e12", "--drop-lowest", 2, "--html", page,
        "--bootstraps", 50,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    for words in (
        "34 points, loss in nats; N counts all parameters",
        "dropped 2: fewest tokens per parameter",
        "36 of 36 starts agree",
        "isoFLOP, 4 budgets: N ~ C^0.5",
        "compute-optimal at 3.8e+25 FLOPs, 3.6 decades beyond the points",
        "extrapolated, decades beyond the points: tokens ",
    ):
        assert words in result.stdout
    text = page.read_text()
    assert text.count("<svg") >= 3
    assert "isoFLOP curves" in text


def test_json_holds_every_interval(verb: Verb, table: Path) -> None:
    result = verb("scaling", "fit", table, "--at", "1e23", "--bootstraps", 50, "--json")
    plain = json.loads(result.stdout)
    assert plain["count_of_N"] == "total"
    alpha = plain["chinchilla"]["constants"]["alpha"]
    assert alpha["low"] < alpha["value"] < alpha["high"]
    (optimal,) = plain["optimal"]
    assert optimal["decades_beyond"] == pytest.approx(1, abs=0.01)
    assert optimal["isoflop"]["parameters"]["low"] < optimal["isoflop"]["parameters"]["high"]
    assert plain["refused"] == {}


def test_mistakes_are_one_sentence(verb: Verb, refused: Refused, table: Path, tmp_path: Path) -> None:
    assert "write parameters and tokens as N:D" in refused("scaling", "fit", table, "--model", "8e9")
    assert "--at -1 is no budget" in refused("scaling", "fit", table, "--at", "-1")
    assert "no column parameters_matrices" in refused("scaling", "fit", table, "--count", "matrices")
    assert "nothing.csv" in refused("scaling", "fit", tmp_path / "nothing.csv")
    few = tmp_path / "few.csv"
    few.write_text("parameters,tokens,loss\n1,2,3\n")
    assert "1 points with 1 sizes" in refused("scaling", "fit", few)
