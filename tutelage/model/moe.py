"""Mixtures of experts: a router chooses a few of many MLPs for every token (Shazeer et al. 2017, arXiv 1701.06538).

Tokens are sorted by expert, each expert multiplies its rows as one matrix, and rows are put back: no loop over tokens.
Parameters of all experts are stacked, so an expert without tokens has a gradient of zero, and not none.

Shape suffixes: N tokens, D width, E experts, C chosen experts of a token, R = N C rows, I inputs, O outputs.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from tutelage.model.mlp import activation
from tutelage.model.settings import Experts
from tutelage.model.sizes import ModelConfig, is_gated

# Keeps the sum of sigmoid scores that all are 0 from dividing by 0, as in DeepSeek-V3.
TINY = 1e-20


class Routing(NamedTuple):
    """What the router of a layer decided.

    logits_NE:  float32, before softmax or sigmoid.
    chosen_NC:  the experts of each token.
    weights_NC: float32, what their outputs are multiplied by.
    margin_N:   by how much the last chosen expert was ahead of the first that was not, without gradient. Where it is as
                small as rounding errors, another order of summation chooses another expert.
    """

    logits_NE: torch.Tensor
    chosen_NC: torch.Tensor
    weights_NC: torch.Tensor
    margin_N: torch.Tensor


class Router(nn.Module):
    """Chooses experts, in float32 also under autocast: in bfloat16 scores tie, and a selection bias of 7 has steps of
    1/32.

    selection_bias: added to scores where experts are chosen, and not where their outputs are weighted (Wang et al.
                    2024, arXiv 2408.15664). It has no gradient; see `train.router`.
    """

    selection_bias: torch.Tensor | None

    def __init__(self, width: int, experts: Experts) -> None:
        super().__init__()
        self.settings = experts
        self.weight = nn.Parameter(torch.zeros(experts.count, width))
        self.bias = nn.Parameter(torch.zeros(experts.count)) if experts.bias else None
        self.register_buffer("selection_bias", torch.zeros(experts.count) if experts.selection_bias else None)

    def _apply(self, fn, recurse=True):  # type: ignore[no-untyped-def]
        """The selection bias moves between devices, and never leaves float32."""
        bias = self.selection_bias
        super()._apply(fn, recurse)
        moved = self.selection_bias
        if bias is not None and moved is not None and moved.dtype != torch.float32:
            same = bias.is_meta or moved.is_meta
            self.selection_bias = torch.empty_like(moved, dtype=torch.float32) if same else bias.to(moved.device)
        return self

    def forward(self, x_ND: torch.Tensor) -> Routing:
        dtype = torch.promote_types(x_ND.dtype, torch.float32)
        with torch.autocast(x_ND.device.type, enabled=False):
            bias = None if self.bias is None else self.bias.to(dtype)
            return route(self.settings, F.linear(x_ND.to(dtype), self.weight.to(dtype), bias), self.selection_bias)


def route(experts: Experts, logits_NE: torch.Tensor, selection_bias: torch.Tensor | None) -> Routing:
    """Choose experts by their scores, and weight them. Softmax is over all experts, before any is chosen: after it the
    gradient of a single chosen expert would be 0.

    With groups, the best groups are chosen first, by their best expert (DeepSeek-V2, arXiv 2405.04434, section 2.2.2)
    or by the sum of their best two (DeepSeek-V3, arXiv 2412.19437, section 2.1.2).
    """
    scores_NE = logits_NE.softmax(-1) if experts.scores == "softmax" else logits_NE.sigmoid()
    choice_NE = scores_NE.detach() if selection_bias is None else scores_NE.detach() + selection_bias
    margin_N = torch.full_like(choice_NE[:, 0], torch.inf)
    if experts.groups > 1:
        grouped = choice_NE.unflatten(1, (experts.groups, -1))
        best = 1 if experts.group_score == "best" else 2
        group_scores = grouped.topk(min(best, grouped.shape[2]), dim=2).values.sum(2)
        chosen_groups, margin_N = _choose(group_scores, experts.used_groups)
        kept = torch.zeros_like(group_scores, dtype=torch.bool).scatter_(1, chosen_groups, True)
        choice_NE = grouped.masked_fill(~kept[..., None], -torch.inf).flatten(1)
    chosen_NC, margin = _choose(choice_NE, experts.used)
    weights_NC = scores_NE.gather(1, chosen_NC)
    if experts.normalised:
        weights_NC = weights_NC / (weights_NC.sum(1, keepdim=True) + TINY)
    return Routing(logits_NE, chosen_NC, weights_NC * experts.scaling, torch.minimum(margin_N, margin))


def _choose(scores: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The highest `count` of each row, and by how much the last of them is ahead of the next."""
    if count == scores.shape[1]:
        everything = torch.arange(count, device=scores.device).expand(len(scores), -1)
        return everything, torch.full_like(scores[:, 0], torch.inf)
    values, places = scores.topk(count + 1, dim=1)
    return places[:, :count], values[:, count - 1] - values[:, count]


class _Dispatch(torch.autograd.Function):
    """Copy each token to the rows of its experts; the gradient of a token is the sum over its rows. Autograd's own
    would add rows in an order that differs from run to run on GPUs."""

    @staticmethod
    def forward(ctx, x_ND, order_R, row_of_R):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(row_of_R)
        ctx.tokens = len(x_ND)
        return x_ND.index_select(0, order_R // (len(order_R) // len(x_ND)))

    @staticmethod
    def backward(ctx, grad_RD):  # type: ignore[no-untyped-def]
        (row_of_R,) = ctx.saved_tensors
        return grad_RD.index_select(0, row_of_R).unflatten(0, (ctx.tokens, -1)).sum(1), None, None


class _Permute(torch.autograd.Function):
    """Reorder rows; the gradient is the inverse order."""

    @staticmethod
    def forward(ctx, x_RD, row_of_R, order_R):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(order_R)
        return x_RD.index_select(0, row_of_R)

    @staticmethod
    def backward(ctx, grad_RD):  # type: ignore[no-untyped-def]
        (order_R,) = ctx.saved_tensors
        return grad_RD.index_select(0, order_R), None, None


class StackedLinear(nn.Module):
    """A linear layer for each expert: weight [E, O, I], and bias [E, O] where there is one."""

    def __init__(self, experts: int, inputs: int, outputs: int, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(experts, outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(experts, outputs)) if bias else None

    def forward(self, x_RI: torch.Tensor, counts_E: torch.Tensor) -> torch.Tensor:
        y_RO = grouped_linear(x_RI, self.weight, counts_E)
        if self.bias is None:
            return y_RO
        return y_RO + self.bias.repeat_interleave(counts_E, dim=0, output_size=len(x_RI)).to(y_RO.dtype)


class ExpertMLPs(nn.Module):
    """The MLPs of all experts, over rows sorted by expert."""

    def __init__(self, config: ModelConfig, experts: Experts) -> None:
        super().__init__()
        self.kind, self.count = config.mlp, experts.count
        hidden = experts.width * (2 if is_gated(config) else 1)
        self.up = StackedLinear(experts.count, config.width, hidden, experts.bias)
        self.down = StackedLinear(experts.count, experts.width, config.width, experts.bias)

    def forward(self, x_ND: torch.Tensor, routing: Routing) -> torch.Tensor:
        """The weighted outputs of each token's experts, [N, D]."""
        tokens, chosen = routing.chosen_NC.shape
        expert_R = routing.chosen_NC.flatten()
        order_R = expert_R.argsort(stable=True)
        row_of_R = torch.empty_like(order_R)
        row_of_R[order_R] = torch.arange(len(order_R), device=order_R.device)
        counts_E = torch.bincount(expert_R, minlength=self.count)
        y_RD = self.rows(_Dispatch.apply(x_ND, order_R, row_of_R), counts_E)
        y_NCD = _Permute.apply(y_RD, row_of_R, order_R).unflatten(0, (tokens, chosen))
        return (y_NCD * routing.weights_NC[..., None].to(y_NCD.dtype)).sum(1)

    def rows(self, x_RD: torch.Tensor, counts_E: torch.Tensor) -> torch.Tensor:
        """The output of each row's expert, [R, D]; the first `counts_E[0]` rows are of expert 0, and so on."""
        return self.down(activation(self.kind, self.up(x_RD, counts_E)), counts_E)


def grouped_linear(x_RI: torch.Tensor, weight_EOI: torch.Tensor, counts_E: torch.Tensor) -> torch.Tensor:
    """Each group of rows times the matrix of its expert, [R, O]. Groups cover all rows, so none is left unwritten.

    On a GPU it is one call, and the counts stay there. On a CPU a product per expert takes as long (20 ms against 22 ms
    for 3,072 rows of 256, forward and backward), and works in float64 and with sizes of any alignment.
    """
    if x_RI.device.type == "cuda":
        if torch.is_autocast_enabled("cuda"):
            dtype = torch.get_autocast_dtype("cuda")
            x_RI, weight_EOI = x_RI.to(dtype), weight_EOI.to(dtype)
        return F.grouped_mm(x_RI, weight_EOI.transpose(1, 2), offs=counts_E.cumsum(0).int())
    pieces = zip(x_RI.split(counts_E.tolist()), weight_EOI.unbind(), strict=True)
    return torch.cat([F.linear(rows, matrix) for rows, matrix in pieces])
