"""The one training loop. An algorithm changes the batches and the loss, never this."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from tutelage.batching.loader import State
from tutelage.batching.packing import is_padding, to_device
from tutelage.process import keep_freed_memory
from tutelage.records import Batch
from tutelage.train.distributed import all_gather_object
from tutelage.train.losses import LossFunction
from tutelage.train.metrics import Metrics
from tutelage.train.optimizers import Optimizer


@dataclass(frozen=True)
class StepReport:
    """What one optimizer step did, over all processes: `done` steps are finished; `state` resumes the data after it."""

    done: int
    state: State
    metrics: Metrics
    tokens: int
    trained_tokens: float
    gradient_norm: float
    lr_factor: float


Hook = Callable[[StepReport], None]
Precision = Literal["float32", "bfloat16"]


class NothingToTrain(ValueError):
    """A step in which no token has any weight: training on it would teach nothing and show a loss of 0."""


class LossNotFinite(ValueError):
    """The loss became infinite or not a number."""


def train(
    model: nn.Module,
    optimizer: Optimizer,
    batches: Iterator[tuple[list[Batch], State]],
    loss_fn: LossFunction,
    *,
    start: int,
    steps: int,
    lr: Callable[[int], float],
    hooks: Sequence[Hook] = (),
    precision: Precision = "float32",
) -> None:
    """Run optimizer steps `start` to `steps`. Every gradient is the sum of all micro-batches' losses over the step's
    total loss weight, so it does not depend on how the step was cut, nor among how many processes.

    With `precision` "bfloat16" matrix products and what flows between them are in it; weights, their gradients and the
    optimizer's state stay as they are, and sums over a vocabulary and the loss are in float32.

    Raises:
        NothingToTrain: a step's loss weight is 0.
        LossNotFinite: a loss is not finite; the model still holds the weights from before that step.
    """
    keep_freed_memory()
    device = next(model.parameters()).device
    for step in range(start, steps):
        micro, state = next(batches)
        mine = sum(b.count for b in micro), sum(len(b.tokens_N) for b in micro if not is_padding(b))
        total, tokens = (sum(column) for column in zip(*all_gather_object(mine), strict=True))
        if total == 0:
            raise NothingToTrain(f"step {step + 1}: all loss weights are 0; inspect the data with `tutelage look`")
        metrics = Metrics()
        for batch in micro:
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
                loss_sum, batch_metrics = loss_fn(model, to_device(batch, device))
            metrics.add(batch_metrics)
            (loss_sum / total).backward()
        metrics = _of_all(metrics)
        norm = optimizer.gradient_norm()
        if not norm < float("inf"):
            raise LossNotFinite(
                f"step {step + 1}: the gradient is not finite (loss {metrics.means()}); lower the learning rate, "
                "or look for a broken example with `tutelage look`"
            )
        factor = lr(step)
        optimizer.step(factor, norm)
        optimizer.zero_grad()
        report = StepReport(step + 1, state, metrics, tokens, total, norm, factor)
        for hook in hooks:
            hook(report)


def _of_all(own: Metrics) -> Metrics:
    """The metrics of all processes together."""
    together = Metrics()
    for pairs in all_gather_object(own.pairs):
        together.add(Metrics(pairs))
    return together
