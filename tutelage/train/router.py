"""Training of routers: balance and z losses as components of any loss, loss-free balancing, and figures for the log.

Statistics are counted over the whole step and all processes, without padding; so they do not depend on how the step is
cut into micro-batches, up to routing ties (see `smallest_margin`).

Shape suffixes: L layers with experts, N tokens of a batch, E experts, C chosen experts of a token, S segments.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn

from tutelage.batching.loader import DataState
from tutelage.batching.packing import to_device
from tutelage.config import Settings
from tutelage.model.moe import Router, Routing
from tutelage.model.settings import Experts
from tutelage.model.transformer import Transformer
from tutelage.records import Batch
from tutelage.train.distributed import all_gather_object, world_size
from tutelage.train.losses import Components, Loss
from tutelage.train.metrics import Metrics

# Of two scores nearer than this, rounding decides which is higher.
NEAR_TIE = 1e-6


class RouterSettings(Settings, frozen=True, kw_only=True):
    """How the routers of a mixture of experts are trained; no effect on other models.

    balance:      factor of the balance loss: experts * sum of f * P over experts, where f is an expert's share of the
                  choices and P its mean share of the scores; 1 where all are equal (Fedus et al. 2021, Switch
                  Transformer, arXiv 2101.03961, eq. 4-6, for any number of chosen experts).
    balance_over: f and P are those of a segment (DeepSeek-V3, arXiv 2412.19437, eq. 17-20), and segments count by their
                  tokens; or f is that of the whole step (Qiu et al. 2025, arXiv 2501.11873), which takes one more
                  forward pass where a step has several micro-batches.
    z:            factor of the z loss, the mean square of the logarithm of the sum of exponentiated logits (Zoph et al.
                  2022, ST-MoE, arXiv 2202.08906, eq. 5).
    bias_rate:    after each step, the selection bias of experts with less than the mean load grows by this, and that of
                  others falls (Wang et al. 2024, arXiv 2408.15664, algorithm 1); then its mean is subtracted. Needs
                  experts.selection_bias.
    """

    balance: float = 0.0
    balance_over: Literal["segment", "step"] = "segment"
    z: float = 0.0
    bias_rate: float = 0.0

    def __post_init__(self) -> None:
        for name in ("balance", "z", "bias_rate"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"router.{name} is {getattr(self, name)}; it must be at least 0")


@dataclass
class RouterTraining:
    """What the routers of a model do in a step. `loss` adds their components to a loss, `batches` counts a step's loads
    ahead where a component needs them, and `after_step` updates selection biases and returns figures for the log.

    counts_LE: tokens that chose each expert in this step so far, of this process.
    step_LE:   the same of the whole step over all processes, counted ahead; None where it was not.
    """

    model: Transformer
    experts: Experts
    settings: RouterSettings
    routers: list[Router] = field(default_factory=list)
    counts_LE: torch.Tensor | None = None
    step_LE: torch.Tensor | None = None
    margins: list[float] = field(default_factory=list)
    near_ties: int = 0

    def __post_init__(self) -> None:
        self.routers = [module for module in self.model.modules() if isinstance(module, Router)]
        if self.settings.bias_rate and not self.experts.selection_bias:
            raise ValueError(
                "router.bias_rate moves the selection bias of experts, and this model has none; set "
                "model.experts.selection_bias = true, or balance the experts with router.balance"
            )

    def loss(self, loss: Loss) -> Loss:
        """The same loss with the components "balance" and "z" where their factors are above 0."""
        factors = {name: getattr(self.settings, name) for name in ("balance", "z")}
        auxiliary = {name: tokens for name, factor in factors.items() if factor}

        def function(model: nn.Module, batch: Batch) -> tuple[Components, Metrics]:
            components, metrics = loss.function(model, batch)
            routings, self.model.routings = self.model.routings, []
            if batch.padding:  # its gradient must exist, and be 0
                return {**components, **{name: _nothing(routings) for name in auxiliary}}, metrics
            routings = [_first(routing, len(batch.tokens_N)) for routing in routings]
            self._count(routings)
            own = {name: self._component(name, routings, batch) for name in auxiliary}
            count = tokens(batch)
            metrics.add(Metrics({f"router.{name}": (float(part.detach()), count) for name, part in own.items()}))
            return {**components, **{name: part * factors[name] for name, part in own.items()}}, metrics

        return loss._replace(
            function=function,
            denominators={**loss.denominators, **auxiliary},
            auxiliary=loss.auxiliary | frozenset(auxiliary),
        )

    def _component(self, name: str, routings: list[Routing], batch: Batch) -> torch.Tensor:
        """A component's sum over the tokens of a batch, mean over layers, without its factor."""
        layers = []
        for layer, routing in enumerate(routings):
            if name == "z":
                layers.append(routing.logits_NE.logsumexp(1).square().sum())
            elif self.settings.balance_over == "segment":
                layers.append(segment_balance(self.experts, routing, batch.lengths))
            else:
                counts_E = self._counts(routing) if self.step_LE is None else self.step_LE[layer]
                layers.append(step_balance(self.experts, routing, counts_E))
        return torch.stack(layers).mean()

    def _counts(self, routing: Routing) -> torch.Tensor:
        return torch.bincount(routing.chosen_NC.flatten(), minlength=self.experts.count)

    def _count(self, routings: list[Routing]) -> None:
        counts_LE = torch.stack([self._counts(routing) for routing in routings])
        self.counts_LE = counts_LE if self.counts_LE is None else self.counts_LE + counts_LE
        margins = torch.stack([routing.margin_N for routing in routings])
        self.margins.append(float(margins.min()))
        self.near_ties += int((margins < NEAR_TIE).any(0).sum())

    def batches(
        self, steps: Iterator[tuple[list[Batch], DataState]], autocast: torch.dtype | None
    ) -> Iterator[tuple[list[Batch], DataState]]:
        """The same steps; where the balance loss is over a step that is cut, its loads are counted before it, with
        matrix products in the dtype `autocast`."""
        if not self.settings.balance or self.settings.balance_over == "segment":
            yield from steps
            return
        device = next(self.model.parameters()).device
        for micro, state in steps:
            self.step_LE = None
            if len(micro) > 1 or world_size() > 1:
                counted = torch.zeros(len(self.routers), self.experts.count, dtype=torch.int64, device=device)
                for batch in micro:
                    with torch.autocast(device.type, autocast, enabled=autocast is not None):
                        self.model(to_device(batch, device))
                    routings, self.model.routings = self.model.routings, []
                    if not batch.padding:
                        own = [_first(routing, len(batch.tokens_N)) for routing in routings]
                        counted += torch.stack([self._counts(routing) for routing in own])
                self.step_LE = _over_all_processes(counted)
            yield micro, state

    @torch.no_grad()
    def after_step(self) -> dict[str, Any]:
        """Move the selection biases, and start counting again. Returns, for the log: the load of the busiest expert of
        any layer, where 1 is the mean; the smallest routing margin; and tokens with a margin below NEAR_TIE."""
        assert self.counts_LE is not None, "a step has a micro-batch"
        counts_LE = _over_all_processes(self.counts_LE)
        gathered = all_gather_object([min(self.margins), self.near_ties])
        load_LE = counts_LE / counts_LE.float().mean(1, keepdim=True)
        self.counts_LE, self.step_LE, self.margins, self.near_ties = None, None, [], 0
        if self.settings.bias_rate:
            for router, load_E in zip(self.routers, load_LE, strict=True):
                assert router.selection_bias is not None
                change_E = self.settings.bias_rate * torch.sign(1 - load_E)
                router.selection_bias += change_E - change_E.mean()
        smallest = min(margin for margin, _ in gathered)
        return {
            "router.max_load": float(load_LE.max()),
            "router.smallest_margin": smallest if smallest < float("inf") else None,
            "router.near_ties": sum(ties for _, ties in gathered),
        }


def tokens(batch: Batch) -> float:
    """The tokens of a batch that hold data."""
    return 0.0 if batch.padding else float(len(batch.tokens_N))


def score_shares(experts: Experts, logits_NE: torch.Tensor) -> torch.Tensor:
    """Each expert's share of a token's scores, [N, E]; from raw logits, so that softmax is taken once."""
    if experts.scores == "softmax":
        return logits_NE.softmax(1)
    return F.normalize(logits_NE.sigmoid(), p=1, dim=1)


def step_balance(experts: Experts, routing: Routing, counts_E: torch.Tensor) -> torch.Tensor:
    """The balance loss of the tokens of a batch, summed over them; `counts_E` are the choices of the whole step."""
    shares_E = counts_E / counts_E.sum()
    return experts.count * (score_shares(experts, routing.logits_NE) * shares_E).sum()


def segment_balance(experts: Experts, routing: Routing, lengths: tuple[int, ...]) -> torch.Tensor:
    """The balance loss of each segment times its tokens, summed over segments."""
    shares_NE = score_shares(experts, routing.logits_NE)
    lengths_S = torch.tensor(lengths, device=shares_NE.device)
    segment_N = torch.repeat_interleave(torch.arange(len(lengths), device=shares_NE.device), lengths_S)
    empty_SE = shares_NE.new_zeros(len(lengths), experts.count)
    segment_NC = segment_N[:, None].expand_as(routing.chosen_NC)
    places = (segment_NC.flatten(), routing.chosen_NC.flatten())
    chosen_SE = empty_SE.index_put(places, empty_SE.new_ones(()), accumulate=True)
    share_sums_SE = empty_SE.index_add(0, segment_N, shares_NE)
    # Choices are a share of T C, scores sum to T: one division by T remains, which weighting by tokens cancels.
    return experts.count * (chosen_SE / (lengths_S[:, None] * experts.used) * share_sums_SE).sum()


def _first(routing: Routing, count: int) -> Routing:
    """What was decided for the first tokens; those that follow only pad a batch."""
    return routing if len(routing.margin_N) == count else Routing(*(part[:count] for part in routing))


def _nothing(routings: list[Routing]) -> torch.Tensor:
    return torch.stack([routing.logits_NE.sum() * 0 for routing in routings]).sum()


def _over_all_processes(counts_LE: torch.Tensor) -> torch.Tensor:
    if world_size() == 1:
        return counts_LE
    return torch.tensor(all_gather_object(counts_LE.tolist()), device=counts_LE.device).sum(0)
