"""Attention: within the segments of a batch in training, over a key-value cache in decoding.

Shape suffixes: N tokens of a batch laid end to end, P padded slots, S segments, L padded length, H query heads,
G key-value heads, K head size, B sequences being decoded, T columns of the cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F

from tutelage.model.sizes import ModelConfig

# Segments share a padded group only while none is padded by more than this many tokens: padding by so much costs less
# than one more kernel call.
PADDING = 16


@dataclass(frozen=True)
class ScoreOptions:
    """How one layer turns scores into attention weights.

    scale:   scores are multiplied by it; None is 1 / sqrt(K).
    window:  a token sees this many tokens, itself included; None is all before it.
    softcap: scores x become cap * tanh(x / cap).
    causal:  a token sees none after it; False only without window and softcap.
    """

    scale: float | None = None
    window: int | None = None
    softcap: float | None = None
    causal: bool = True


def score_options(config: ModelConfig, layer: int) -> ScoreOptions:
    """The options of one layer of a model."""
    window = config.window if layer in config.windowed else None
    return ScoreOptions(config.attention_scale, window, config.attention_softcap, config.causal)


@dataclass(frozen=True, eq=False)
class PaddingPlan:
    """How the segments of a batch are padded for attention, computed once a batch and used in every layer.

    Segments of similar length form one padded group. Padding is on the right, where causal attention cannot see it, so
    no mask is needed. Where attention is not causal, only segments of equal length form a group. If all segments have
    one length nothing moves, and the index tensors are None.

    Example: lengths (2, 3) form one group of 2 segments of 3 slots, the longer first. Tokens 0 1 | 2 3 4 are placed as
    2 3 4 | 0 1 _, so token_of_slot_P = [2, 3, 4, 0, 1, 0], slot_of_token_N = [3, 4, 0, 1, 2], padding = [5].

    shapes:          (segments, padded length) of each group.
    token_of_slot_P: int64, the token that each slot reads; padding reads token 0.
    slot_of_token_N: int64, the slot of each token.
    padding:         int64, the slots that hold no token; None where there are none.
    masks:           masks of windowed layers by (length, window), built once for all layers.
    """

    shapes: tuple[tuple[int, int], ...]
    token_of_slot_P: torch.Tensor | None
    slot_of_token_N: torch.Tensor | None
    padding: torch.Tensor | None
    masks: dict[tuple[int, int | None], torch.Tensor] = field(default_factory=dict)


def plan_padding(lengths: Sequence[int], device: torch.device | str = "cpu", causal: bool = True) -> PaddingPlan:
    """Group the segments of a batch by length."""
    padding_limit = PADDING if causal else 0
    assert lengths, "a batch holds at least one segment"
    lengths_S = np.asarray(lengths, dtype=np.int64)
    if (lengths_S == lengths_S[0]).all():
        return PaddingPlan(((len(lengths_S), int(lengths_S[0])),), None, None, None)
    starts_S = np.concatenate([[0], np.cumsum(lengths_S)[:-1]])
    order = np.argsort(-lengths_S, kind="stable")
    shapes: list[tuple[int, int]] = []
    tokens_of_groups, slot_of_token_N = [], np.empty(int(lengths_S.sum()), dtype=np.int64)
    first = offset = 0
    while first < len(order):
        longest = int(lengths_S[order[first]])
        last = first + int(np.searchsorted(-lengths_S[order[first:]], padding_limit - longest, side="right"))
        members = order[first:last]
        columns = np.arange(longest)
        real = columns[None, :] < lengths_S[members, None]
        tokens = starts_S[members, None] + columns[None, :]
        slot_of_token_N[tokens[real]] = offset + np.flatnonzero(real)
        tokens_of_groups.append(np.where(real, tokens, -1).ravel())
        shapes.append((len(members), longest))
        offset += len(members) * longest
        first = last
    token_of_slot_P = np.concatenate(tokens_of_groups)
    padding = np.flatnonzero(token_of_slot_P < 0)
    return PaddingPlan(
        tuple(shapes),
        torch.from_numpy(np.maximum(token_of_slot_P, 0)).to(device),
        torch.from_numpy(slot_of_token_N).to(device),
        torch.from_numpy(padding).to(device) if len(padding) else None,
    )


class _Pad(torch.autograd.Function):
    """Copy tokens to their padded slots. Every token has exactly one slot and padding has no gradient, so the backward
    pass is an index_select too; autograd's own would be a slow scatter-add."""

    @staticmethod
    def forward(ctx, x_N, token_of_slot_P, slot_of_token_N):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(slot_of_token_N)
        return x_N.index_select(0, token_of_slot_P)

    @staticmethod
    def backward(ctx, grad_P):  # type: ignore[no-untyped-def]
        (slot_of_token_N,) = ctx.saved_tensors
        return grad_P.index_select(0, slot_of_token_N), None, None


class _Unpad(torch.autograd.Function):
    """Copy padded slots back to their tokens; padding has a gradient of zero."""

    @staticmethod
    def forward(ctx, x_P, token_of_slot_P, slot_of_token_N, padding):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(token_of_slot_P, padding)
        return x_P.index_select(0, slot_of_token_N)

    @staticmethod
    def backward(ctx, grad_N):  # type: ignore[no-untyped-def]
        token_of_slot_P, padding = ctx.saved_tensors
        grad_P = grad_N.index_select(0, token_of_slot_P)
        if padding is not None:
            grad_P.index_fill_(0, padding, 0)
        return grad_P, None, None, None


def segment_attention(
    q_NHK: torch.Tensor,
    k_NGK: torch.Tensor,
    v_NGK: torch.Tensor,
    plan: PaddingPlan,
    options: ScoreOptions = ScoreOptions(),
    sinks_H: torch.Tensor | None = None,
) -> torch.Tensor:
    """Attention within each segment, causal unless the options say otherwise; returns [N, H K]. With sinks (see
    `masked_attention`) all scores are computed and kept, as with a softcap."""
    if plan.token_of_slot_P is not None:
        q_NHK, k_NGK, v_NGK = (_Pad.apply(x, plan.token_of_slot_P, plan.slot_of_token_N) for x in (q_NHK, k_NGK, v_NGK))
    outputs = []
    sizes = [segments * length for segments, length in plan.shapes]
    # Split, not slices: the gradient of each slice is a full tensor of zeros, that of a split is one concatenation.
    groups = zip(*(x.split(sizes) if len(sizes) > 1 else (x,) for x in (q_NHK, k_NGK, v_NGK)), strict=True)
    for shape, group in zip(plan.shapes, groups, strict=True):
        q_SHLK, k_SGLK, v_SGLK = (x.unflatten(0, shape).transpose(1, 2) for x in group)
        window = options.window if options.window is not None and options.window < shape[1] else None
        if window is None and options.softcap is None and sinks_H is None:
            o_SHLK = dense_attention(q_SHLK, k_SGLK, v_SGLK, options.scale, options.causal)
        else:
            assert options.causal, "windows, caps and sinks are of causal models only"
            k_SHLK, v_SHLK = (repeat_heads(x, q_SHLK.shape[1]) for x in (k_SGLK, v_SGLK))
            mask_LL = _mask(plan, shape[1], window, q_SHLK)
            sinks = None if sinks_H is None else sinks_H[:, None, None]
            o_SHLK = masked_attention(q_SHLK, k_SHLK, v_SHLK, mask_LL, options, sinks)
        outputs.append(o_SHLK.transpose(1, 2).flatten(2).flatten(0, 1))
    y = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
    return (
        y if plan.token_of_slot_P is None else _Unpad.apply(y, plan.token_of_slot_P, plan.slot_of_token_N, plan.padding)
    )


def varlen_attention(
    q_NHK: torch.Tensor,
    k_NGK: torch.Tensor,
    v_NGK: torch.Tensor,
    starts_S1: torch.Tensor,
    longest: int,
    options: ScoreOptions,
) -> torch.Tensor:
    """`segment_attention` by the one kernel of `torch.nn.attention.varlen`, on GPUs in bfloat16, without caps and
    sinks; `starts_S1` are the first tokens of the segments and the end of the last, int32. Returns [N, H K]."""
    from torch.nn.attention.varlen import varlen_attn

    left = -1 if options.window is None else options.window - 1
    o_NHK = varlen_attn(
        q_NHK, k_NGK, v_NGK, starts_S1, starts_S1, longest, longest, scale=options.scale,
        window_size=(left, 0 if options.causal else -1), enable_gqa=True,
    )  # fmt: skip
    assert isinstance(o_NHK, torch.Tensor)
    return o_NHK.flatten(1)


def dense_attention(
    q_SHLK: torch.Tensor, k_SGLK: torch.Tensor, v_SGLK: torch.Tensor, scale: float | None = None, causal: bool = True
) -> torch.Tensor:
    """Attention without padding; scores are multiplied by `scale` (None is 1 / sqrt(K)). Returns [S, H, L, K]."""
    if q_SHLK.device.type == "cpu":
        return _DenseOnCpu.apply(q_SHLK, k_SGLK, v_SGLK, scale, causal)
    return F.scaled_dot_product_attention(q_SHLK, k_SGLK, v_SGLK, is_causal=causal, scale=scale, enable_gqa=True)


class _DenseOnCpu(torch.autograd.Function):
    """PyTorch's flash attention for CPUs, with two improvements. Keys and values are saved once, not once for every
    query head. The backward pass runs in float32 at least: the bfloat16 kernel is slower (34 ms against 23 ms, where
    the forward pass takes 7 ms) and rounds more."""

    @staticmethod
    def forward(ctx, q_SHLK, k_SGLK, v_SGLK, scale, causal):  # type: ignore[no-untyped-def]
        heads = q_SHLK.shape[1]
        k_SHLK, v_SHLK = repeat_heads(k_SGLK, heads), repeat_heads(v_SGLK, heads)
        forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        o_SHLK, logsumexp = forward(q_SHLK, k_SHLK, v_SHLK, 0.0, causal, scale=scale)
        ctx.save_for_backward(q_SHLK, k_SGLK, v_SGLK, o_SHLK, logsumexp)
        ctx.scale, ctx.causal = scale, causal
        return o_SHLK

    @staticmethod
    def backward(ctx, grad_SHLK):  # type: ignore[no-untyped-def]
        *saved, logsumexp = ctx.saved_tensors
        q_SHLK, k_SGLK, v_SGLK, o_SHLK = (x.to(logsumexp.dtype) for x in saved)
        heads, dtype = q_SHLK.shape[1], grad_SHLK.dtype
        k_SHLK, v_SHLK = repeat_heads(k_SGLK, heads), repeat_heads(v_SGLK, heads)
        backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
        grad = grad_SHLK.to(logsumexp.dtype)
        dq, dk, dv = backward(grad, q_SHLK, k_SHLK, v_SHLK, o_SHLK, logsumexp, 0.0, ctx.causal, scale=ctx.scale)
        if k_SGLK.shape[1] != heads:
            dk, dv = (x.unflatten(1, (k_SGLK.shape[1], -1)).sum(dim=2) for x in (dk, dv))
        return dq.to(dtype), dk.to(dtype), dv.to(dtype), None, None


def _mask(plan: PaddingPlan, length: int, window: int | None, like: torch.Tensor) -> torch.Tensor:
    """Additive mask of `length` tokens, [L, L]: 0 where a token sees another, minus infinity elsewhere."""
    if (length, window) not in plan.masks:
        position_L = torch.arange(length, device=like.device)
        distance_LL = position_L[:, None] - position_L[None, :]
        hidden_LL = distance_LL < 0 if window is None else (distance_LL < 0) | (distance_LL >= window)
        mask_LL = torch.zeros(hidden_LL.shape, dtype=like.dtype, device=like.device)
        plan.masks[length, window] = mask_LL.masked_fill_(hidden_LL, -torch.inf)
    return plan.masks[length, window]


def masked_attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    mask: torch.Tensor | None,
    options: ScoreOptions,
    sinks: torch.Tensor | None = None,
) -> torch.Tensor:
    """Attention with an additive mask; q [..., Q, K], k and v [..., T, K], mask broadcast to [..., Q, T].

    sinks: a score of each head, broadcast to [..., Q, 1], that takes weight from the tokens and adds nothing (gpt-oss;
           Xiao et al. 2023, arXiv 2309.17453).
    """
    if options.softcap is None and sinks is None:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=options.scale)
    scale = q.shape[-1] ** -0.5 if options.scale is None else options.scale
    scores = q @ k.transpose(-1, -2) * (scale / (options.softcap or 1.0))
    if options.softcap is not None:
        scores = options.softcap * torch.tanh(scores)
    if mask is not None:
        scores = scores + mask
    if sinks is not None:
        scores = torch.cat([scores, sinks.to(scores.dtype).expand(*scores.shape[:-1], 1)], dim=-1)
    weights = scores.softmax(dim=-1, dtype=torch.promote_types(scores.dtype, torch.float32)).to(v.dtype)
    return (weights if sinks is None else weights[..., :-1]) @ v


def repeat_heads(x_SGLK: torch.Tensor, heads: int) -> torch.Tensor:
    """Copy each key or value head to all query heads of its group: [S, G, L, K] -> [S, heads, L, K]."""
    groups = x_SGLK.shape[1]
    return x_SGLK if groups == heads else x_SGLK.repeat_interleave(heads // groups, dim=1)
