"""Attention: within the segments of a batch while training, over a key-value cache while decoding.

Shape suffixes: N tokens of a batch end to end, S segments, L a padded length, H query heads, G key-value heads,
K head size, B sequences being decoded, T columns of the cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

# Segments share a padded group only while the shortest fills this share of the longest: padding costs less than
# another kernel launch down to about here.
FILL = 0.75


@dataclass(frozen=True, eq=False)
class Plan:
    """How the segments of a batch are laid out for attention, worked out once a batch and used in every layer.

    Segments of like length form one padded group. Padding stands on the right, where causal attention cannot see it,
    so no mask is needed. `slots_P` says which token each padded slot reads (padding reads token 0), `homes_N` where
    each token went, `padding` which slots hold no token. With segments of one length nothing has to move.
    """

    shapes: tuple[tuple[int, int], ...]  # (segments, padded length) of each group
    slots_P: torch.Tensor | None
    homes_N: torch.Tensor | None
    padding: torch.Tensor | None


def plan(lengths: Sequence[int], device: torch.device | str = "cpu") -> Plan:
    """Group the segments of a batch by length."""
    assert lengths, "a batch holds at least one segment"
    lengths_S = np.asarray(lengths, dtype=np.int64)
    if (lengths_S == lengths_S[0]).all():
        return Plan(((len(lengths_S), int(lengths_S[0])),), None, None, None)
    starts_S = np.concatenate([[0], np.cumsum(lengths_S)[:-1]])
    order = np.argsort(-lengths_S, kind="stable")
    shapes: list[tuple[int, int]] = []
    slots, homes_N = [], np.empty(int(lengths_S.sum()), dtype=np.int64)
    first = offset = 0
    while first < len(order):
        longest = int(lengths_S[order[first]])
        last = first + int(np.searchsorted(-lengths_S[order[first:]], -FILL * longest, side="right"))
        members = order[first:last]
        columns = np.arange(longest)
        real = columns[None, :] < lengths_S[members, None]
        tokens = starts_S[members, None] + columns[None, :]
        homes_N[tokens[real]] = offset + np.flatnonzero(real)
        slots.append(np.where(real, tokens, -1).ravel())
        shapes.append((len(members), longest))
        offset += len(members) * longest
        first = last
    slots_P = np.concatenate(slots)
    padding = np.flatnonzero(slots_P < 0)
    return Plan(
        tuple(shapes),
        torch.from_numpy(np.maximum(slots_P, 0)).to(device),
        torch.from_numpy(homes_N).to(device),
        torch.from_numpy(padding).to(device) if len(padding) else None,
    )


class _Spread(torch.autograd.Function):
    """Copy tokens to their padded slots. Every token has one slot and padding gets no gradient, so the way back is a
    plain read too, where autograd would have used a slow scatter-add."""

    @staticmethod
    def forward(ctx, x_N, slots_P, homes_N):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(homes_N)
        return x_N.index_select(0, slots_P)

    @staticmethod
    def backward(ctx, grad_P):  # type: ignore[no-untyped-def]
        (homes_N,) = ctx.saved_tensors
        return grad_P.index_select(0, homes_N), None, None


class _Gather(torch.autograd.Function):
    """Copy padded slots back to their tokens; the padding's gradient is zero."""

    @staticmethod
    def forward(ctx, x_P, slots_P, homes_N, padding):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(slots_P, padding)
        return x_P.index_select(0, homes_N)

    @staticmethod
    def backward(ctx, grad_N):  # type: ignore[no-untyped-def]
        slots_P, padding = ctx.saved_tensors
        grad_P = grad_N.index_select(0, slots_P)
        if padding is not None:
            grad_P.index_fill_(0, padding, 0)
        return grad_P, None, None, None


def segment_attention(q_NHK: torch.Tensor, k_NGK: torch.Tensor, v_NGK: torch.Tensor, how: Plan) -> torch.Tensor:
    """Causal attention of every segment to itself alone; returns [N, H K]."""
    if how.slots_P is not None:
        q_NHK, k_NGK, v_NGK = (_Spread.apply(x, how.slots_P, how.homes_N) for x in (q_NHK, k_NGK, v_NGK))
    outputs = []
    sizes = [segments * length for segments, length in how.shapes]
    # Split, not slices: the gradient of a slice is a whole tensor of zeros around it, of a split one concatenation.
    groups = zip(*(x.split(sizes) if len(sizes) > 1 else (x,) for x in (q_NHK, k_NGK, v_NGK)), strict=True)
    for shape, group in zip(how.shapes, groups, strict=True):
        q_SHLK, k_SGLK, v_SGLK = (x.unflatten(0, shape).transpose(1, 2) for x in group)
        k_SHLK, v_SHLK = (repeat_heads(x, q_SHLK.shape[1]) for x in (k_SGLK, v_SGLK))
        o_SHLK = F.scaled_dot_product_attention(q_SHLK, k_SHLK, v_SHLK, is_causal=True)
        outputs.append(o_SHLK.transpose(1, 2).flatten(2).flatten(0, 1))
    y = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
    return y if how.slots_P is None else _Gather.apply(y, how.slots_P, how.homes_N, how.padding)


def repeat_heads(x_SGLK: torch.Tensor, heads: int) -> torch.Tensor:
    """Give every query head its own copy of the key or value head its group shares."""
    groups = x_SGLK.shape[1]
    return x_SGLK if groups == heads else x_SGLK.repeat_interleave(heads // groups, dim=1)
