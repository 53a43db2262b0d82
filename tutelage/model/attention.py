"""Attention: within the segments of a batch while training, over a key-value cache while decoding.

Shape suffixes: N tokens of a batch end to end, S segments, L a padded length, H query heads, G key-value heads,
K head size, B sequences being decoded, T columns of the cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F

from tutelage.model.sizes import ModelConfig

# Segments share a padded group only while none is padded by more than this: so much costs less than a call of its own.
PADDING = 16


@dataclass(frozen=True)
class Rules:
    """How a layer's scores become weights: what they are multiplied by (None is 1 / sqrt(K)), how many tokens a token
    sees (None is all before it), and the cap x -> cap * tanh(x / cap) on scores."""

    scale: float | None = None
    window: int | None = None
    softcap: float | None = None


def rules(config: ModelConfig, layer: int) -> Rules:
    """What a model's configuration says of the attention in one of its layers."""
    window = config.window if layer in config.windowed else None
    return Rules(config.attention_scale, window, config.attention_softcap)


@dataclass(frozen=True, eq=False)
class Plan:
    """How the segments of a batch are laid out for attention, worked out once a batch and used in every layer.

    Segments of like length form one padded group. Padding stands on the right, where causal attention cannot see it,
    so no mask is needed. `slots_P` says which token each padded slot reads (padding reads token 0), `homes_N` where
    each token went, `padding` which slots hold no token. With segments of one length nothing has to move. `masks` keeps
    what windowed layers hide, so that it is made once for all of them.
    """

    shapes: tuple[tuple[int, int], ...]  # (segments, padded length) of each group
    slots_P: torch.Tensor | None
    homes_N: torch.Tensor | None
    padding: torch.Tensor | None
    masks: dict[tuple[int, int | None], torch.Tensor] = field(default_factory=dict)


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
        last = first + int(np.searchsorted(-lengths_S[order[first:]], PADDING - longest, side="right"))
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


def segment_attention(
    q_NHK: torch.Tensor, k_NGK: torch.Tensor, v_NGK: torch.Tensor, how: Plan, by: Rules = Rules()
) -> torch.Tensor:
    """Causal attention of every segment to itself alone; returns [N, H K]."""
    if how.slots_P is not None:
        q_NHK, k_NGK, v_NGK = (_Spread.apply(x, how.slots_P, how.homes_N) for x in (q_NHK, k_NGK, v_NGK))
    outputs = []
    sizes = [segments * length for segments, length in how.shapes]
    # Split, not slices: the gradient of a slice is a whole tensor of zeros around it, of a split one concatenation.
    groups = zip(*(x.split(sizes) if len(sizes) > 1 else (x,) for x in (q_NHK, k_NGK, v_NGK)), strict=True)
    for shape, group in zip(how.shapes, groups, strict=True):
        q_SHLK, k_SGLK, v_SGLK = (x.unflatten(0, shape).transpose(1, 2) for x in group)
        window = by.window if by.window is not None and by.window < shape[1] else None
        if window is None and by.softcap is None:
            o_SHLK = causal_attention(q_SHLK, k_SGLK, v_SGLK, by.scale)
        else:
            k_SHLK, v_SHLK = (repeat_heads(x, q_SHLK.shape[1]) for x in (k_SGLK, v_SGLK))
            o_SHLK = masked_attention(q_SHLK, k_SHLK, v_SHLK, _mask(how, shape[1], window, q_SHLK), by)
        outputs.append(o_SHLK.transpose(1, 2).flatten(2).flatten(0, 1))
    y = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
    return y if how.slots_P is None else _Gather.apply(y, how.slots_P, how.homes_N, how.padding)


def causal_attention(
    q_SHLK: torch.Tensor, k_SGLK: torch.Tensor, v_SGLK: torch.Tensor, scale: float | None = None
) -> torch.Tensor:
    """Every token sees its sequence up to itself; scores are multiplied by `scale` (None is 1 / sqrt(K))."""
    if q_SHLK.device.type == "cpu":
        return _CausalOnCpu.apply(q_SHLK, k_SGLK, v_SGLK, scale)
    return F.scaled_dot_product_attention(q_SHLK, k_SGLK, v_SGLK, is_causal=True, scale=scale, enable_gqa=True)


class _CausalOnCpu(torch.autograd.Function):
    """PyTorch's flash attention for CPUs, with two things better done around it. Keys and values are not kept once for
    every query head. And the way back is in float32 at least: its kernel for bfloat16 is the slower one (34 against
    23 ms where the forward pass takes 7), and rounds more."""

    @staticmethod
    def forward(ctx, q_SHLK, k_SGLK, v_SGLK, scale):  # type: ignore[no-untyped-def]
        heads = q_SHLK.shape[1]
        k_SHLK, v_SHLK = repeat_heads(k_SGLK, heads), repeat_heads(v_SGLK, heads)
        forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        o_SHLK, logsumexp = forward(q_SHLK, k_SHLK, v_SHLK, 0.0, True, scale=scale)
        ctx.save_for_backward(q_SHLK, k_SGLK, v_SGLK, o_SHLK, logsumexp)
        ctx.scale = scale
        return o_SHLK

    @staticmethod
    def backward(ctx, grad_SHLK):  # type: ignore[no-untyped-def]
        *kept, logsumexp = ctx.saved_tensors
        q_SHLK, k_SGLK, v_SGLK, o_SHLK = (x.to(logsumexp.dtype) for x in kept)
        heads, narrow = q_SHLK.shape[1], grad_SHLK.dtype
        k_SHLK, v_SHLK = repeat_heads(k_SGLK, heads), repeat_heads(v_SGLK, heads)
        backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
        grad = grad_SHLK.to(logsumexp.dtype)
        dq, dk, dv = backward(grad, q_SHLK, k_SHLK, v_SHLK, o_SHLK, logsumexp, 0.0, True, scale=ctx.scale)
        if k_SGLK.shape[1] != heads:
            dk, dv = (x.unflatten(1, (k_SGLK.shape[1], -1)).sum(dim=2) for x in (dk, dv))
        return dq.to(narrow), dk.to(narrow), dv.to(narrow), None


def _mask(how: Plan, length: int, window: int | None, like: torch.Tensor) -> torch.Tensor:
    """What is added to the scores of `length` tokens: 0 where one sees another, minus infinity elsewhere; [L, L]."""
    if (length, window) not in how.masks:
        place = torch.arange(length, device=like.device)
        back_LL = place[:, None] - place[None, :]
        hidden_LL = back_LL < 0 if window is None else (back_LL < 0) | (back_LL >= window)
        mask_LL = torch.zeros(hidden_LL.shape, dtype=like.dtype, device=like.device)
        how.masks[length, window] = mask_LL.masked_fill_(hidden_LL, -torch.inf)
    return how.masks[length, window]


def masked_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None, by: Rules
) -> torch.Tensor:
    """Attention under a mask that is added to the scores; q [..., Q, K], k and v [..., T, K], mask to [..., Q, T]."""
    if by.softcap is None:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=by.scale)
    scale = q.shape[-1] ** -0.5 if by.scale is None else by.scale
    scores = by.softcap * torch.tanh(q @ k.transpose(-1, -2) * (scale / by.softcap))
    if mask is not None:
        scores = scores + mask
    return scores.softmax(dim=-1, dtype=torch.promote_types(scores.dtype, torch.float32)).to(v.dtype) @ v


def repeat_heads(x_SGLK: torch.Tensor, heads: int) -> torch.Tensor:
    """Give every query head its own copy of the key or value head its group shares."""
    groups = x_SGLK.shape[1]
    return x_SGLK if groups == heads else x_SGLK.repeat_interleave(heads // groups, dim=1)
