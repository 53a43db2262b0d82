from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.train.metrics import Metrics

PAIRS = st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(0.1, 1e3)), min_size=1)


@given(PAIRS, st.integers(0, 10))
def test_means_do_not_depend_on_how_a_step_is_cut(pairs: list[tuple[float, float]], cut: int) -> None:
    def added(part: list[tuple[float, float]]) -> Metrics:
        metrics = Metrics()
        for total, count in part:
            metrics.add(Metrics({"loss": (total, count)}))
        return metrics

    whole, parts = added(pairs), added(pairs[:cut])
    parts.add(added(pairs[cut:]))
    right = sum(total for total, _ in pairs) / sum(count for _, count in pairs)
    assert whole.means()["loss"] == pytest.approx(right, abs=1e-9)
    assert parts.means()["loss"] == pytest.approx(right, abs=1e-9)


def test_a_metric_that_counted_nothing_has_no_mean() -> None:
    metrics = Metrics({"loss": (1.0, 2.0), "value": (0.0, 0.0)})
    metrics.add(Metrics({"reward": (3.0, 1.0)}))
    assert metrics.means() == {"loss": 0.5, "reward": 3.0}
