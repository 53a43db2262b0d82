"""The learning-rate range test: a short sweep over learning rates, on weights that are restored afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import nn

from tutelage.batching.loader import DataState
from tutelage.progress import Bar
from tutelage.records import Batch
from tutelage.train.loop import LossNotFinite, Precision, StepReport, train
from tutelage.train.losses import Loss
from tutelage.train.optimizers import Optimizer, OptimizerSettings

RANGE_STEPS = 60
# Of the usual rate, below and above: from a rate that changes nothing to one at which training diverges.
BELOW, ABOVE = 1 / 100, 100
SMOOTHING = 0.8  # the share of the running mean so far in the next one
WINDOW = 1.0  # decades
# Training has diverged where the smoothed loss has risen from its lowest by this share of what it had fallen, and by
# this share of where it began: less is the noise of single steps.
RISE_OF_FALL, RISE_OF_START = 0.5, 0.15
# As low as anywhere, but for noise; and the usual distance from the rate at which the loss begins to rise.
ABOUT_LOWEST, BELOW_LAST_STABLE = 1.02, 1 / 10


@dataclass(frozen=True)
class LrRangeTest:
    """The curve of a sweep, a point a step, and what was chosen from it.

    lrs:      the learning rate of each step, rising.
    losses:   the loss of the next step's batch, so after the step; smoothed: its running mean.
    steepest: the rate around which the loss falls fastest over the logarithm of the rate.
    last_stable_lr: the last rate at which the running mean was about as low as anywhere, before training diverged; None
              where it did not.
    chosen:   the rate to train with, and `by` what it was chosen.
    """

    lrs: list[float]
    losses: list[float]
    smoothed: list[float]
    steepest: float
    last_stable_lr: float | None
    chosen: float
    by: Literal["a tenth of the last stable rate", "the steepest descent"]


class _Diverged(Exception):
    """The sweep has reached a rate at which training diverges."""


def lr_range_test(
    model: nn.Module,
    settings: OptimizerSettings,
    stream: Iterator[tuple[list[Batch], DataState]],
    loss: Loss,
    *,
    lowest: float,
    highest: float,
    steps: int = RANGE_STEPS,
    precision: Precision = "float32",
    bar: Bar | None = None,
) -> LrRangeTest:
    """The learning-rate range test of Smith (2015, arXiv 1506.01186): `steps` optimizer steps at lrs that rise from
    `lowest` to `highest` by the same factor each, ended early where training diverges.

    The model's weights are restored bit for bit; a fresh optimizer is used and thrown away.

    Raises:
        ValueError: the loss is not finite from the first step on.
    """
    assert 0 < lowest < highest and steps >= 3
    optimizer = Optimizer(model, settings, highest)
    before = [parameter.detach().clone() for parameter in optimizer.parameters]
    lrs = np.geomspace(lowest, highest, steps)
    losses: list[float] = []
    broke = False

    def record(report: StepReport) -> None:
        losses.append(float(report.metrics.means()["loss"]))
        if bar is not None:
            bar.update(1, {"loss": losses[-1], "lr": float(lrs[len(losses) - 1])})
        if diverged(smooth(np.array(losses))) is not None:
            raise _Diverged

    try:
        train(
            model, optimizer, stream, loss, start=0, steps=steps, lr=lambda step: float(lrs[step] / highest),
            hooks=[record], precision=precision,
        )  # fmt: skip
    except _Diverged:
        pass
    except LossNotFinite:
        broke = True
    finally:
        with torch.no_grad():
            for parameter, weights in zip(optimizer.parameters, before, strict=True):
                parameter.copy_(weights)
        optimizer.zero_grad()
    if len(losses) < 3:
        raise ValueError(
            "--find-lr needs at least three steps with a finite loss; set the rate yourself (--lr), or inspect the "
            "data with `tutelage look`"
        )
    return choose(lrs, np.array(losses), broke)


def smooth(losses: np.ndarray) -> np.ndarray:
    """The running mean of each loss and those before it, older ones weighing less, float64 [P]."""
    mean, smoothed = 0.0, []
    for place, loss in enumerate(losses, 1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        smoothed.append(mean / (1 - SMOOTHING**place))  # or the first means would be drawn to 0
    return np.array(smoothed)


def diverged(smoothed: np.ndarray) -> int | None:
    """The first place at which a smoothed loss has clearly risen from its lowest so far; None where it never has."""
    lowest = np.minimum.accumulate(smoothed)
    allowed = np.maximum(RISE_OF_FALL * (smoothed[0] - lowest), RISE_OF_START * smoothed[0])
    above = np.flatnonzero(~(smoothed <= lowest + allowed))
    return int(above[0]) if len(above) else None


def choose(lrs: np.ndarray, losses: np.ndarray, broke: bool = False) -> LrRangeTest:
    """The rate to train with, from the loss of each step's batch before it was taken, [P] and at least three; `broke`
    where the loss after the last of these steps was no number.

    A tenth of the rate from which on the loss rises; and where it never does, the rate around which it falls fastest.
    """
    # A batch's loss is that of the weights after the step before it.
    taken, after = lrs[: len(losses) - 1], losses[1:]
    smoothed = smooth(losses)[1:]
    steepest = float(taken[int(np.argmin(slopes(taken, after)))])
    last_stable_lr = None
    if diverged(smooth(losses)) is not None or broke:
        last_stable_lr = float(taken[np.flatnonzero(smoothed <= ABOUT_LOWEST * smoothed.min())[-1]])
    return LrRangeTest(
        lrs=taken.tolist(),
        losses=after.tolist(),
        smoothed=smoothed.tolist(),
        steepest=rounded(steepest),
        last_stable_lr=None if last_stable_lr is None else rounded(last_stable_lr),
        chosen=rounded(steepest if last_stable_lr is None else last_stable_lr * BELOW_LAST_STABLE),
        by="the steepest descent" if last_stable_lr is None else "a tenth of the last stable rate",
    )


def slopes(lrs: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """How fast the loss rises over the logarithm of the rate around each point, by least squares over WINDOW decades:
    over fewer the noise of single steps is steeper than anything else. inf where the window reaches beyond the sweep,
    unless it does so everywhere; float64 [P]."""
    logs = np.log10(lrs)
    whole = (logs - logs[0] >= WINDOW / 2) & (logs[-1] - logs >= WINDOW / 2)
    found = np.full(len(logs), np.inf)
    for place in np.flatnonzero(whole) if whole.any() else range(len(logs)):
        near = np.abs(logs - logs[place]) <= WINDOW / 2
        x = logs[near] - logs[near].mean()
        found[place] = (x @ losses[near]) / (x @ x)
    return found


def rounded(rate: float) -> float:
    """Two digits: a sweep says no more."""
    return float(f"{rate:.1e}")


def default_lr(parameters: int) -> float:
    """A peak learning rate for a model of which nothing is known but its size: 2e-5 at a billion parameters, falling
    with the cube root of the size (1e-5 at 8 billion, as in Tulu 3, arXiv 2411.15124), between 5e-6 and 3e-4."""
    return rounded(min(3e-4, max(5e-6, 2e-5 * (1e9 / parameters) ** (1 / 3))))
