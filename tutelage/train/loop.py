"""The one training loop. An algorithm changes the batches and the loss, never this."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from typing import Any, Literal

import torch
from torch import nn

from tutelage.batching.loader import DataState
from tutelage.batching.packing import to_device
from tutelage.process import keep_freed_memory
from tutelage.records import Batch
from tutelage.train.distributed import all_gather_object
from tutelage.train.layout import once_per_part
from tutelage.train.losses import Components, Loss
from tutelage.train.metrics import Metrics
from tutelage.train.optimizers import Optimizer

# Raise it when the loop, the loader, packing or a loss changes what a stage becomes: finished stages run again.
TRAINING = 1


@dataclass(frozen=True)
class StepReport:
    """What one optimizer step did, over all processes: `done` steps are finished; `state` resumes the data after it.
    Hooks add what they measured to `figures`, for the hooks after them."""

    done: int
    state: DataState
    metrics: Metrics
    tokens: int
    trained_tokens: float
    gradient_norm: float
    lr_factor: float
    figures: dict[str, Any] = field(default_factory=dict)


Hook = Callable[[StepReport], None]
Precision = Literal["float32", "bfloat16"]


class NothingToTrain(ValueError):
    """A step whose loss weights are all 0: training on it would teach nothing and show a loss of 0."""


class LossNotFinite(ValueError):
    """The loss became infinite or not a number."""


def train(
    model: nn.Module,
    optimizer: Optimizer,
    batches: Iterator[tuple[list[Batch], DataState]],
    loss: Loss,
    *,
    start: int,
    steps: int,
    lr: Callable[[int], float],
    hooks: Sequence[Hook] = (),
    precision: Precision = "float32",
) -> None:
    """Run optimizer steps `start` to `steps`. Every gradient is the sum over all micro-batches of each component of the
    loss, divided by the component's denominator over the whole step; so it does not depend on how the step was cut, nor
    on the number of processes.

    With `precision` "bfloat16" matrix products and what flows between them are in it; weights, their gradients and the
    optimizer's state stay as they are, and sums over a vocabulary and the loss are in float32.

    Raises:
        NothingToTrain: every denominator of a step is 0, but those of auxiliary components.
        LossNotFinite: a loss is not finite; the model still holds the weights from before that step.
    """
    keep_freed_memory()
    device = next(model.parameters()).device
    for step in range(start, steps):
        micro, state = next(batches)
        tokens, trained_tokens, denominators = count(micro, loss)
        if not any(count for name, count in denominators.items() if name not in loss.auxiliary):
            raise NothingToTrain(
                f"step {step + 1}: all loss weights are 0, nothing to train on; inspect the data with `tutelage look`"
            )
        metrics = Metrics()
        for batch in micro:
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
                components, batch_metrics = loss.function(model, to_device(batch, device))
            metrics.add(batch_metrics)
            mean(components, denominators).backward()
        metrics = _over_all_processes(metrics)
        norm = optimizer.gradient_norm()
        if not norm < float("inf"):
            raise LossNotFinite(
                f"step {step + 1}: the gradient is not finite (loss {metrics.means()}); lower the learning rate, "
                "or look for a broken example with `tutelage look`"
            )
        factor = lr(step)
        optimizer.step(factor, norm)
        optimizer.zero_grad()
        report = StepReport(step + 1, state, metrics, int(tokens), trained_tokens, norm, factor)
        for hook in hooks:
            hook(report)


def count(micro: Sequence[Batch], loss: Loss) -> tuple[float, float, dict[str, float]]:
    """The tokens of a step, its trained tokens and the denominator of each component, over all processes."""
    own = [sum(len(batch.tokens_N) for batch in micro if not batch.padding), sum(batch.count for batch in micro)]
    own += [sum(map(denominator, micro)) for denominator in loss.denominators.values()]
    tokens, trained, *totals = (sum(column) for column in zip(*once_per_part(all_gather_object(own)), strict=True))
    return tokens, trained, dict(zip(loss.denominators, totals, strict=True))


def mean(components: Components, denominators: Mapping[str, float]) -> torch.Tensor:
    """The sum of all components, each divided by its denominator; one that nothing was counted for adds nothing."""
    return reduce(add, (part / (denominators[name] or 1.0) for name, part in components.items()))


def _over_all_processes(own: Metrics) -> Metrics:
    together = Metrics()
    for pairs in once_per_part(all_gather_object(own.pairs)):
        together.add(Metrics(pairs))
    return together
