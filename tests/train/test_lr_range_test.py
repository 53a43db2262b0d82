from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import repeat

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tutelage.batching.loader import DataState, micro_batches
from tutelage.model.sizes import ModelSettings, resolve
from tutelage.model.transformer import Transformer, initialise
from tutelage.records import Batch, Example
from tutelage.train.loop import LossNotFinite, train
from tutelage.train.losses import CROSS_ENTROPY
from tutelage.train.lr_range_test import (
    RANGE_STEPS,
    LrRangeTest,
    choose,
    default_lr,
    diverged,
    lr_range_test,
    rounded,
    smooth,
)
from tutelage.train.optimizers import Optimizer, OptimizerSettings

LRS = np.geomspace(1e-6, 1e-1, 51)


def model() -> Transformer:
    return initialise(Transformer(resolve(ModelSettings(depth=1, width=32, context=64), 16)), seed=0)


def stream(bad: bool = False) -> Iterator[tuple[list[Batch], DataState]]:
    """The same step again and again: the tokens count up, so that there is something to learn."""
    weights = np.full(40, np.nan if bad else 1.0, np.float32)
    example = Example(np.arange(40, dtype=np.int32) % 16, weights)
    return repeat((micro_batches([(example,)] * 4, 200), {}))


def search(one: Transformer, **options: float) -> LrRangeTest:
    bounds = {"lowest": 1e-5, "highest": 10.0, **options}
    return lr_range_test(one, OptimizerSettings(), stream(), CROSS_ENTROPY, **bounds)  # type: ignore[arg-type]


def test_the_weights_come_back_bit_for_bit_and_the_sweep_is_the_same_again() -> None:
    one = model()
    before = {name: tensor.clone() for name, tensor in one.state_dict().items()}
    first, second = search(one), search(one)
    assert first == second
    assert all(tensor.equal(before[name]) for name, tensor in one.state_dict().items())
    assert all(parameter.grad is None for parameter in one.parameters())


def test_the_rate_found_learns_and_ten_thousand_times_it_falls_apart() -> None:
    """What the sweep is for, tried out: the same number of steps at the chosen rate, far below it and far above."""
    found = search(model())
    assert found.last_stable_lr is not None
    assert found.chosen == pytest.approx(found.last_stable_lr / 10, rel=0.06)
    assert len(found.lrs) == len(found.losses) == len(found.smoothed) < RANGE_STEPS
    assert found.lrs == sorted(found.lrs)

    def loss_after(rate: float) -> float:
        one, losses = model(), []
        try:
            train(
                one, Optimizer(one, OptimizerSettings(), rate), stream(), CROSS_ENTROPY, start=0, steps=30,
                lr=lambda step: 1.0, hooks=[lambda report: losses.append(report.metrics.means()["loss"])],
            )  # fmt: skip
        except LossNotFinite:
            return math.inf
        return losses[-1]

    at_it = loss_after(found.chosen)
    assert at_it < loss_after(found.chosen / 1000) - 0.5
    assert at_it < loss_after(min(found.chosen * 10_000, 30.0)) - 0.5


def test_a_loss_that_is_no_number_is_one_sentence_and_leaves_the_weights() -> None:
    one = model()
    before = one.embedding.weight.detach().clone()
    with pytest.raises(ValueError, match="--find-lr needs at least three steps with a finite loss"):
        lr_range_test(one, OptimizerSettings(), stream(bad=True), CROSS_ENTROPY, lowest=1e-5, highest=1.0)
    assert torch.equal(one.embedding.weight, before)


def curve(falls_at: float, apart_at: float | None) -> np.ndarray:
    """A loss that falls by half around one rate, and explodes at another."""
    losses = 2 + 2 / (1 + (LRS / falls_at) ** 2)
    return losses if apart_at is None else losses + np.where(apart_at <= LRS, 50 * (LRS / apart_at), 0)


def test_without_divergence_the_steepest_fall_is_taken() -> None:
    found = choose(LRS, curve(1e-3, None))
    assert (found.last_stable_lr, found.by) == (None, "the steepest descent")
    assert found.chosen == found.steepest
    assert 3e-4 < found.chosen < 1e-2


def test_a_tenth_of_the_rate_beyond_which_the_loss_rises_is_taken() -> None:
    found = choose(LRS, curve(1e-3, 2e-2))
    assert found.last_stable_lr is not None
    assert found.by == "a tenth of the last stable rate"
    assert found.chosen == pytest.approx(found.last_stable_lr / 10, rel=0.06)
    assert 5e-3 < found.last_stable_lr < 2e-2


def test_a_flat_loss_gives_the_last_rate_before_it_rises_and_no_early_one() -> None:
    flat = 2 + 0.01 * np.sin(np.arange(51)) + np.where(LRS >= 1e-2, 500 * LRS, 0)
    found = choose(LRS, flat)
    assert found.last_stable_lr is not None
    assert 3e-3 < found.last_stable_lr < 1e-2


@given(st.lists(st.floats(0.5, 20), min_size=3, max_size=51))
def test_whatever_the_losses_the_choice_is_a_rate_that_was_tried_or_below(losses: list[float]) -> None:
    found = choose(LRS, np.array(losses))
    assert rounded(LRS[0] / 10) <= found.chosen <= rounded(LRS[len(losses) - 1])
    if found.last_stable_lr is not None:
        assert found.chosen < found.last_stable_lr


@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=40))
def test_a_running_mean_lies_within_what_it_is_the_mean_of(losses: list[float]) -> None:
    smoothed = smooth(np.array(losses))
    assert smoothed[0] == pytest.approx(losses[0])
    assert (smoothed <= np.maximum.accumulate(losses) * (1 + 1e-9)).all()
    assert (smoothed >= np.minimum.accumulate(losses) * (1 - 1e-9)).all()


def test_falling_apart_is_a_clear_rise_and_no_noise() -> None:
    noisy = np.array([4.0, 4.2, 3.9, 4.1, 3.5, 3.6, 3.0, 3.2])
    assert diverged(noisy) is None
    assert diverged(np.append(noisy, [3.4, 3.9, 9.0])) == 9
    assert diverged(np.array([4.0, np.nan])) == 1


@pytest.mark.parametrize(("parameters", "rate"), [(8e9, 1e-5), (1e9, 2e-5), (596e6, 2.4e-5), (1e5, 3e-4), (1e12, 5e-6)])
def test_the_default_falls_with_the_cube_root_of_the_size(parameters: float, rate: float) -> None:
    assert default_lr(int(parameters)) == rate


def test_a_loss_that_is_no_number_any_more_is_divergence_too() -> None:
    losses = curve(1e-3, None)[:30]
    found = choose(LRS, losses, broke=True)
    assert found.last_stable_lr == rounded(LRS[28])  # the last step whose loss is a number is the one before
    assert choose(LRS, losses).last_stable_lr is None
