"""Attention of decoding rows on few CPU threads: compiled loops that read each row up to its own length.

PyTorch's kernel pads all rows to the longest, and prepares more than it sums for one query a row: of 16 ragged
rows it takes twice as long. It does use all threads; these loops use one.

Shape suffixes: B decoded tokens, G key-value heads, H query heads, K head size, R rows, T columns, L layers.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
import torch
from numba import types
from numba.extending import overload, register_jitable

from tutelage.model.attention import ScoreOptions

# With more threads PyTorch's kernel is faster.
MOST_THREADS = 4


def supports(kv: torch.Tensor) -> bool:
    """Whether the loops are the faster choice for this cache."""
    few = kv.device.type == "cpu" and torch.get_num_threads() <= MOST_THREADS
    return few and kv.dtype in (torch.float32, torch.bfloat16)


def raw_array(x: torch.Tensor) -> np.ndarray:
    """The memory of a float32 or bfloat16 tensor as a contiguous array; of bfloat16, its bits as uint16."""
    x = x.contiguous()
    return x.view(torch.uint16).numpy() if x.dtype == torch.bfloat16 else x.numpy()


class DecodeKernel:
    """The loops over one cache [2, L, R, G, T, K], for one step: token b writes at `positions_B[b]` of the cache's row
    `rows_B[b]`, then reads up to there. So several tokens of one row, in order, see each other."""

    def __init__(self, kv: torch.Tensor, rows_B: np.ndarray, positions_B: np.ndarray) -> None:
        self.kv, self.rows_B, self.positions_B = raw_array(kv), rows_B, positions_B
        self.scores_T = np.empty(kv.shape[4], dtype=np.float32)

    def __call__(
        self, layer: int, q_BHK: torch.Tensor, k_BGK: torch.Tensor, v_BGK: torch.Tensor, options: ScoreOptions
    ) -> torch.Tensor:
        """Write keys and values at the rows' positions, and attend up to there; returns [B, H K] in q's dtype."""
        scale = q_BHK.shape[2] ** -0.5 if options.scale is None else options.scale
        out_BHK = torch.empty(q_BHK.shape, dtype=torch.float32)
        _attend(
            layer, self.kv, self.rows_B, self.positions_B, raw_array(k_BGK), raw_array(v_BGK),
            q_BHK.float().contiguous().numpy(), np.float32(scale), options.window or 0,
            np.float32(options.softcap or 0), self.scores_T, out_BHK.numpy(),
        )  # fmt: skip
        return out_BHK.flatten(1).to(q_BHK.dtype)


def _widen(x: Any) -> Any:
    """A float32 as it is; the bits of a bfloat16 as the float32 that they begin."""
    raise NotImplementedError("compiled code only")


@overload(_widen, inline="always")
def _compile_widen(x):  # type: ignore[no-untyped-def]
    if isinstance(x, types.Integer):
        return lambda x: np.uint32(np.uint32(x) << np.uint32(16)).view(np.float32)
    return lambda x: x


@register_jitable
def _exp(x: Any) -> Any:
    """exp(x) for x <= 0, to 2e-7, without a call, so that loops over it are vectorised: 2 to a whole power, times the
    Taylor series of the rest, at most ln(2) / 2."""
    x = max(x, np.float32(-87))
    whole = np.int32(x * np.float32(1.4426950408889634) - np.float32(0.5))
    rest = x - np.float32(whole) * np.float32(0.693359375) - np.float32(whole) * np.float32(-2.12194440e-4)
    series = np.float32(1 / 5040)
    series = series * rest + np.float32(1 / 720)
    series = series * rest + np.float32(1 / 120)
    series = series * rest + np.float32(1 / 24)
    series = series * rest + np.float32(1 / 6)
    series = series * rest + np.float32(0.5)
    series = series * rest + np.float32(1)
    series = series * rest + np.float32(1)
    return series * np.uint32((whole + np.int32(127)) << np.int32(23)).view(np.float32)


@register_jitable
def _scores(q_K, keys_TK, first, end, scale, softcap, scores_T):  # type: ignore[no-untyped-def]
    """Scaled scores of the columns from `first` to before `end`; returns the highest."""
    highest = np.float32(-np.inf)
    for t in range(first, end):
        score = np.float32(0)
        for i in range(len(q_K)):
            score += q_K[i] * _widen(keys_TK[t, i])
        score *= scale
        scores_T[t] = softcap * np.float32(math.tanh(score / softcap)) if softcap > 0 else score
        highest = max(highest, scores_T[t])
    return highest


@register_jitable
def _add_values(weights_T, values_TK, first, end, out_K):  # type: ignore[no-untyped-def]
    """Add the weighted values of these columns to `out_K`, four at once, so that it is read and written less often."""
    size, t = len(out_K), first
    while t + 4 <= end:
        a, b, c, d = weights_T[t], weights_T[t + 1], weights_T[t + 2], weights_T[t + 3]
        for i in range(size):
            out_K[i] += (
                a * _widen(values_TK[t, i])
                + b * _widen(values_TK[t + 1, i])
                + c * _widen(values_TK[t + 2, i])
                + d * _widen(values_TK[t + 3, i])
            )
        t += 4
    while t < end:
        a = weights_T[t]
        for i in range(size):
            out_K[i] += a * _widen(values_TK[t, i])
        t += 1


@numba.njit(fastmath=True, cache=True)
def _attend(layer, kv, rows_B, positions_B, k_BGK, v_BGK, q_BHK, scale, window, softcap, scores_T, out_BHK):  # type: ignore[no-untyped-def]
    tokens, heads, _ = q_BHK.shape
    group = heads // k_BGK.shape[1]
    for b in range(tokens):
        position = positions_B[b]
        first, end = max(0, position + 1 - window) if window > 0 else 0, position + 1
        for g in range(k_BGK.shape[1]):
            keys_TK, values_TK = kv[0, layer, rows_B[b], g], kv[1, layer, rows_B[b], g]
            keys_TK[position], values_TK[position] = k_BGK[b, g], v_BGK[b, g]
            for h in range(g * group, (g + 1) * group):
                highest = _scores(q_BHK[b, h], keys_TK, first, end, scale, softcap, scores_T)
                total = np.float32(0)
                for t in range(first, end):
                    scores_T[t] = _exp(scores_T[t] - highest)
                    total += scores_T[t]
                out_K = out_BHK[b, h]
                out_K[:] = 0
                _add_values(scores_T, values_TK, first, end, out_K)
                out_K /= total
