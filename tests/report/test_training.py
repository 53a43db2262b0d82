from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tutelage.config import convert
from tutelage.report.curves import POINTS, SMOOTHED_FROM, smooth
from tutelage.report.read import SelectedCheckpoint, read_run
from tutelage.report.training import training
from tutelage.runner import Run
from tutelage.train.lr_range_test import LrRangeTest

MakeRun = Callable[..., Run]


@given(arrays(np.float64, st.integers(SMOOTHED_FROM + 1, 2000), elements=st.floats(0, 20)))
def test_a_smoothed_curve_runs_inside_its_band_from_the_first_value_to_the_last(losses: np.ndarray) -> None:
    found = smooth(np.arange(1, len(losses) + 1), losses, "train")
    x, y, low, high = (np.asarray(column) for column in (found.x, found.y, found.low, found.high))
    assert len(x) <= POINTS
    assert (x[0], x[-1]) == (1, len(losses))
    assert (y[0], y[-1]) == (losses[0], losses[-1])
    assert ((low <= y + 1e-9) & (y <= high + 1e-9)).all()
    if len(losses) <= POINTS:  # every step is in some window, so no peak is lost
        assert (high.max(), low.min()) == (losses.max(), losses.min())


def test_a_short_curve_is_drawn_as_it_is() -> None:
    found = smooth(np.arange(3), np.array([3.0, 9.0, 1.0]), "train")
    assert found.low is None
    assert np.asarray(found.y).tolist() == [3.0, 9.0, 1.0]


def test_the_selected_step_and_the_step_of_the_lowest_loss_are_shown(make_run: MakeRun) -> None:
    shown = training(list(read_run(make_run()).values()), {"chat": "base"})
    assert shown is not None
    assert "Dev eval during training" in shown
    assert "Forgetting: loss on" in shown
    assert "The weights of step 10 of 20 were selected: there its dev eval was best (score 90.0%)." in shown
    assert "The held-out loss alone would have selected step 20." in shown
    assert "selected: step 10" in shown
    assert "lowest loss: step 20" in shown
    assert "world, before" in shown  # the base model's own loss, beside the forgetting curve
    assert "a step 10" in shown


def test_a_single_eval_step_is_not_a_curve(make_run: MakeRun) -> None:
    stages = read_run(make_run())
    chat = stages["chat"]
    once = replace(chat, evals=chat.evals[-1:], log=[row for row in chat.log if row["step"] != 10])
    shown = training([stages["base"], once], {"chat": "base"})
    assert shown is not None
    assert "Dev eval during training" not in shown
    assert "Forgetting" not in shown


def test_nothing_trained_is_left_out() -> None:
    assert training([], {}) is None


RANGE_TEST = {
    "lrs": [1e-5, 1e-4, 1e-3, 1e-2],
    "losses": [3.0, 2.5, 1.5, 6.0],
    "smoothed": [3.0, 2.8, 2.2, 4.0],
    "steepest": 1e-4,
    "last_stable_lr": 1e-3,
    "chosen": 1e-4,
    "by": "a tenth of the last stable rate",
}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({}, "fastest at 0.0001, and rises beyond 0.001. Chosen: 0.0001, a tenth of that."),
        (
            {"last_stable_lr": None, "by": "the steepest descent"},
            "fastest at 0.0001, and never clearly rises. Chosen: 0.0001, the learning rate of the steepest descent.",
        ),
    ],
)
def test_the_range_test_is_shown(make_run: MakeRun, change: dict[str, Any], sentence: str) -> None:
    stages = read_run(make_run())
    test = convert(RANGE_TEST | change, LrRangeTest)
    info = msgspec.structs.replace(stages["chat"].info, lr_range_test=test)
    shown = training([stages["base"], replace(stages["chat"], info=info)], {"chat": "base"})
    assert shown is not None
    assert sentence in shown
    assert "Learning-rate range test" in shown
    assert f"chosen: {test.chosen:g}" in shown


def test_selection_by_the_lowest_loss_is_shown(make_run: MakeRun) -> None:
    stages = read_run(make_run())
    selected = SelectedCheckpoint(step=20, by="lowest_loss", score=0.9, lowest_loss_step=20)
    info = msgspec.structs.replace(stages["chat"].info, selected=selected)
    shown = training([stages["base"], replace(stages["chat"], info=info)], {"chat": "base"})
    assert shown is not None
    assert "The weights of step 20 of 20 were selected: there its held-out loss was lowest.<" in shown
