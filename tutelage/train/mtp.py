"""The loss of multi-token prediction as components of any loss (DeepSeek-V3, arXiv 2412.19437, eq. 24-25)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import nn

from tutelage.batching.loader import DataState
from tutelage.batching.packing import tokens_ahead
from tutelage.model.transformer import Transformer
from tutelage.records import Batch
from tutelage.train.losses import Components, Loss
from tutelage.train.metrics import Metrics


@dataclass
class MtpTraining:
    """Adds the components "mtp.1", "mtp.2" ... to a loss: the cross-entropy of the token 1, 2 ... further ahead.

    weight_at: the weight of their mean, by the number of the step.
    step:      the current one, which `batches` counts.
    """

    model: Transformer
    weight_at: Callable[[int], float]
    step: int = 0

    def batches(
        self, steps: Iterator[tuple[list[Batch], DataState]], start: int
    ) -> Iterator[tuple[list[Batch], DataState]]:
        """The same steps, counted from `start`."""
        for self.step, step in enumerate(steps, start):
            yield step

    def loss(self, loss: Loss) -> Loss:
        """The same loss with these components."""
        depth = self.model.config.mtp

        def function(model: nn.Module, batch: Batch) -> tuple[Components, Metrics]:
            components, metrics = loss.function(model, batch)
            further, self.model.further_logprobs = self.model.further_logprobs, []
            own = {}
            for ahead, logprobs_P in enumerate(further, start=1):
                weights_N = tokens_ahead(batch, ahead).weights_N
                own[f"mtp.{ahead}"] = -(logprobs_P * weights_N[weights_N != 0]).sum()
                figure = (float(own[f"mtp.{ahead}"].detach()), float(weights_N.sum()))
                metrics.add(Metrics({f"mtp.{ahead}": figure}))
            weight = self.weight_at(self.step) / depth
            return {**components, **{name: part * weight for name, part in own.items()}}, metrics

        names = {f"mtp.{ahead}": _counted(ahead) for ahead in range(1, depth + 1)}
        return loss._replace(
            function=function,
            denominators={**loss.denominators, **names},
            auxiliary=loss.auxiliary | frozenset(names),
        )


def _counted(ahead: int) -> Callable[[Batch], float]:
    return lambda batch: float(tokens_ahead(batch, ahead).weights_N.double().sum())
