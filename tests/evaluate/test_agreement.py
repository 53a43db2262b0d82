from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.evaluate.agreement import cohen_kappa, fleiss_kappa, krippendorff_alpha


def coded(path: Path) -> np.ndarray:
    """Units by coders; NaN for an empty cell."""
    with path.open() as file:
        return np.array([[float(cell or "nan") for cell in row[1:]] for row in list(csv.reader(file))[1:]])


@pytest.mark.parametrize(
    ("file", "level", "published"),
    [
        ("krippendorff_c.csv", "nominal", 0.743),
        ("krippendorff_c.csv", "ordinal", 0.815),
        ("krippendorff_c.csv", "interval", 0.849),
        ("krippendorff_c.csv", "ratio", 0.797),
        ("krippendorff_3coders.csv", "nominal", 0.691),
        ("krippendorff_3coders.csv", "interval", 0.811),
    ],
)
def test_alpha_is_the_published_one(data: Callable[[str], Path], file: str, level: str, published: float) -> None:
    assert krippendorff_alpha(coded(data(f"statistics/{file}")), level) == pytest.approx(published, abs=5e-4)  # type: ignore[arg-type]


def test_fleiss_kappa_of_the_diagnoses_is_the_published_one(data: Callable[[str], Path]) -> None:
    values_NC = coded(data("statistics/fleiss_1971_diagnoses.csv"))
    counts_NK = np.stack([(values_NC == category).sum(1) for category in range(1, 6)], 1)
    assert fleiss_kappa(counts_NK) == pytest.approx(0.430, abs=5e-4)


def test_cohen_kappa_by_hand() -> None:
    # 20 + 15 of 50 agree; by chance .5 * .6 + .5 * .4 = .5 would.
    first = ["yes"] * 25 + ["no"] * 25
    second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert cohen_kappa(first, second) == pytest.approx(0.4)


@given(st.lists(st.integers(0, 3), min_size=2, max_size=20).filter(lambda values: len({*values}) > 1))
def test_coders_that_agree_have_one_and_the_order_of_coders_does_not_matter(values: list[int]) -> None:
    one_N = np.array(values, float)
    assert krippendorff_alpha(np.stack([one_N, one_N, one_N], 1), "ordinal") == pytest.approx(1)
    assert cohen_kappa(values, values) == pytest.approx(1)
    other_N = one_N[::-1]
    pair_NC = np.stack([one_N, other_N], 1)
    assert krippendorff_alpha(pair_NC) == pytest.approx(krippendorff_alpha(pair_NC[:, ::-1]))


def test_what_says_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least two coders"):
        krippendorff_alpha(np.array([[1, np.nan], [np.nan, 2]]))
    with pytest.raises(ValueError, match="all values are equal"):
        krippendorff_alpha(np.ones((3, 2)))
    with pytest.raises(ValueError, match="the same number of coders"):
        fleiss_kappa(np.array([[2, 0], [1, 2]]))
    with pytest.raises(ValueError, match="one category"):
        cohen_kappa(["a", "a"], ["a", "a"])
