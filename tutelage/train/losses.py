"""Losses: a few lines each, to be held against their papers. Each returns the weighted SUM over a micro-batch; the loop
divides once, by the step's total."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from tutelage.records import Batch
from tutelage.train.metrics import Metrics

LossFunction = Callable[[nn.Module, Batch], tuple[torch.Tensor, Metrics]]


def cross_entropy(model: nn.Module, batch: Batch) -> tuple[torch.Tensor, Metrics]:
    """Minus the log-probability of every graded label, times its weight; in nats."""
    logprobs = model(batch)
    weights = batch.weights_N[batch.weights_N != 0]
    loss_sum = -(logprobs * weights).sum()
    return loss_sum, Metrics(loss=(float(loss_sum.detach()), batch.count))
