"""Prefixes that segments of a batch share are computed once, as those of the samples of one prompt.

Everything but attention works on single positions, so it reads the unique ones, [C]. Attention reads all positions,
[N], as if nothing were shared. Logits and gradients are the same, up to rounding.

Shape suffixes: C unique positions, N positions of the batch.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from tutelage.model.attention import PaddingPlan, ScoreOptions, segment_attention
from tutelage.records import Batch


class Sharing(NamedTuple):
    """unique_C:   positions of the batch that are computed.
    copy_N:      the place of each position among them.
    repeated:    positions of the batch that are copies of earlier ones."""

    unique_C: torch.Tensor
    copy_N: torch.Tensor
    repeated: torch.Tensor


def sharing_of(batch: Batch) -> Sharing | None:
    """What the segments of a batch share; None where that is nothing, and on GPUs: they would sum over copies in
    another order each time, and a run would not resume bit for bit."""
    if batch.unique_C is None or batch.copy_N is None or batch.tokens_N.device.type != "cpu":
        return None
    repeated_N = torch.ones(len(batch.copy_N), dtype=torch.bool)
    repeated_N[batch.unique_C] = False
    return Sharing(batch.unique_C, batch.copy_N, repeated_N.nonzero()[:, 0])


class _Spread(torch.autograd.Function):
    """Unique positions to all; the gradient of a unique position is the sum over its copies."""

    @staticmethod
    def forward(ctx, x_C, sharing):  # type: ignore[no-untyped-def]
        ctx.sharing = sharing
        return x_C.index_select(0, sharing.copy_N)

    @staticmethod
    def backward(ctx, grad_N):  # type: ignore[no-untyped-def]
        unique_C, copy_N, repeated = ctx.sharing
        grad_C = grad_N.index_select(0, unique_C)
        return grad_C.index_add_(0, copy_N[repeated], grad_N.index_select(0, repeated)), None


class _Unique(torch.autograd.Function):
    """All positions to the unique ones; what copies computed is not read."""

    @staticmethod
    def forward(ctx, x_N, sharing):  # type: ignore[no-untyped-def]
        ctx.sharing = sharing
        return x_N.index_select(0, sharing.unique_C)

    @staticmethod
    def backward(ctx, grad_C):  # type: ignore[no-untyped-def]
        grad_N = grad_C.new_zeros(len(ctx.sharing.copy_N), *grad_C.shape[1:])
        return grad_N.index_copy_(0, ctx.sharing.unique_C, grad_C), None


def spread(x_C: torch.Tensor, sharing: Sharing) -> torch.Tensor:
    """Values of the unique positions at all positions, [N, ...]."""
    spread_N: torch.Tensor = _Spread.apply(x_C, sharing)
    return spread_N


def shared_attention(
    q_CHK: torch.Tensor,
    k_CGK: torch.Tensor,
    v_CGK: torch.Tensor,
    sharing: Sharing,
    plan: PaddingPlan,
    options: ScoreOptions,
    sinks_H: torch.Tensor | None = None,
) -> torch.Tensor:
    """Causal attention within each segment, for unique positions; returns [C, H K]."""
    q_NHK, k_NGK, v_NGK = (spread(x, sharing) for x in (q_CHK, k_CGK, v_CGK))
    unique: torch.Tensor = _Unique.apply(segment_attention(q_NHK, k_NGK, v_NGK, plan, options, sinks_H), sharing)
    return unique
