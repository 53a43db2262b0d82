from __future__ import annotations

import csv
import gzip
import json
from collections import defaultdict
from collections.abc import Callable
from itertools import combinations
from math import comb
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.evaluate.pass_at_k import pass_at_k, pass_hat_k


@pytest.mark.parametrize(
    ("right", "k", "value"), [(1, 1, 0.005), (1, 10, 0.05), (1, 100, 0.5), (20, 10, 0.660226), (5, 100, 0.970308)]
)
def test_values_of_200_samples(right: int, k: int, value: float) -> None:
    assert pass_at_k(200, right, k) == pytest.approx(value, abs=5e-7)


@given(st.integers(1, 8).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_they_are_shares_of_all_subsets(drawn: tuple[int, int, int]) -> None:
    samples, right, k = drawn
    subsets = [*combinations([number < right for number in range(samples)], k)]
    assert pass_at_k(samples, right, k) == pytest.approx(sum(map(any, subsets)) / comb(samples, k))
    assert pass_hat_k(samples, right, k) == pytest.approx(sum(map(all, subsets)) / comb(samples, k))


def test_codegen_on_humaneval(data: Callable[[str], Path]) -> None:
    with data("codet/humaneval_codegen16b_counts.csv").open() as file:
        counts = [[int(cell) for cell in row[1:]] for row in list(csv.reader(file))[1:]]
    for k, published in ((1, 22.12), (10, 50.38), (100, 73.78)):
        assert 100 * np.mean([pass_at_k(n, c, k) for n, c in counts]) == pytest.approx(published, abs=5e-3)


def test_pass_hat_k_of_tau_bench(data: Callable[[str], Path]) -> None:
    tries = defaultdict(list)
    for row in json.loads(gzip.decompress(data("tau_bench_airline/gpt-4o-airline.json.gz").read_bytes())):
        tries[row["task_id"]].append(row["reward"] == 1)
    for k, published in ((1, 0.420), (2, 0.273), (3, 0.220), (4, 0.200)):
        mean = np.mean([pass_hat_k(len(one), sum(one), k) for one in tries.values()])
        assert mean == pytest.approx(published, abs=5e-4)


def test_pain_e21_more_samples_than_there_are_is_an_error() -> None:
    with pytest.raises(ValueError, match="k is 10, but there are 1 samples of the problem"):
        pass_at_k(1, 1, 10)
    with pytest.raises(ValueError, match="5 of 3 samples cannot be right"):
        pass_hat_k(3, 5, 1)
