"""Losses: a few lines each, to be compared with their papers. Each returns named component SUMS over a micro-batch; the
loop divides every component once, by its denominator counted over the whole optimizer step.

Shape suffixes: N tokens of a batch, S segments, P positions with a loss weight.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import nn

from tutelage.records import Batch
from tutelage.train.metrics import Metrics

Components = Mapping[str, torch.Tensor]
LossFunction = Callable[[nn.Module, Batch], tuple[Components, Metrics]]
Count = Callable[[Batch], float]


class Loss(NamedTuple):
    """A loss function and the denominator of each of its components, counted on a batch before any forward pass.

    first_step: what metrics must be at the first step, before any weight has changed; checked in every run.
    items:      gives the components, and the figures of each item (such as a pair) for evaluations; None where it has
                none.
    auxiliary:  components that alone are nothing to train on, such as those of routers.
    """

    function: LossFunction
    denominators: Mapping[str, Count]
    first_step: Mapping[str, float] = {}
    items: Callable[[nn.Module, Batch], tuple[Components, Mapping[str, torch.Tensor]]] | None = None
    auxiliary: frozenset[str] = frozenset()


def trained_tokens(batch: Batch) -> float:
    """The summed loss weight of a batch."""
    return batch.count


def segments(batch: Batch) -> float:
    """The segments of a batch that hold data."""
    return 0.0 if batch.padding else float(len(batch.lengths))


def groups(batch: Batch) -> float:
    """The example groups of a batch that hold data."""
    return 0.0 if batch.padding else float(batch.groups_S[-1]) + 1


def cross_entropy(model: nn.Module, batch: Batch) -> tuple[Components, Metrics]:
    """Minus the log-probability of every label, times its loss weight; in nats. Where segments carry their dataset,
    also by dataset, as `loss.0`, `loss.1` and so on."""
    weights_P = batch.weights_N[batch.weights_N != 0]
    losses_P = -model(batch) * weights_P
    loss_sum = losses_P.sum()
    metrics = Metrics({"loss": (float(loss_sum.detach()), batch.count)})
    if "dataset" in batch.scalars:
        lengths_S = torch.tensor(batch.lengths, device=weights_P.device)
        dataset_P = torch.repeat_interleave(batch.scalars["dataset"].long(), lengths_S)[batch.weights_N != 0]
        sums = torch.bincount(dataset_P, losses_P.detach()).tolist()
        counts = torch.bincount(dataset_P, weights_P).tolist()
        metrics.add(Metrics({f"loss.{number}": pair for number, pair in enumerate(zip(sums, counts, strict=True))}))
    return {"loss": loss_sum}, metrics


CROSS_ENTROPY = Loss(cross_entropy, {"loss": trained_tokens})
