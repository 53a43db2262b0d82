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
    """Minus the log-probability of every trained label, times its weight; in nats. Where segments carry their source,
    also by source, as `loss.0`, `loss.1` and so on."""
    logprobs = model(batch)
    trained_N = batch.weights_N != 0
    weights = batch.weights_N[trained_N]
    losses = -logprobs * weights
    loss_sum = losses.sum()
    metrics = Metrics({"loss": (float(loss_sum.detach()), batch.count)})
    if "source" in batch.scalars:
        lengths_S = torch.tensor(batch.lengths, device=weights.device)
        source = torch.repeat_interleave(batch.scalars["source"].long(), lengths_S)[trained_N]
        sums = torch.bincount(source, losses.detach()).tolist()
        counts = torch.bincount(source, weights).tolist()
        metrics.add(Metrics({f"loss.{number}": pair for number, pair in enumerate(zip(sums, counts, strict=True))}))
    return loss_sum, metrics
