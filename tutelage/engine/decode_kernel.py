"""Attention of decoding rows on few CPU threads: compiled loops that read each row up to its own length.

PyTorch's kernel pads all rows to the longest, and prepares more than it sums for one query a row: of 16 ragged
rows it takes twice as long. It does use all threads; these loops use one.

Shape suffixes: B decoded tokens, G key-value heads, H query heads, K head size, R rows, T columns, L layers.
"""

from __future__ import annotations

import math

import numba
import numpy as np
import torch
from numba.extending import register_jitable

from tutelage.model.attention import ScoreOptions
from tutelage.model.compiled import exp_below_zero, narrow, raw_array, widen

# With more threads PyTorch's kernel is faster.
MOST_THREADS = 4


def supports(kv: torch.Tensor) -> bool:
    """Whether the loops are the faster choice for this cache."""
    few = kv.device.type == "cpu" and torch.get_num_threads() <= MOST_THREADS
    return few and kv.dtype in (torch.float32, torch.bfloat16)


class DecodeKernel:
    """The loops over one cache [2, L, R, G, T, K], or [1, L, R, G, T, K] where keys are values, for one step: token b
    writes at `positions_B[b]` of the cache's row `rows_B[b]`, then reads up to there. So several tokens of one row, in
    order, see each other."""

    def __init__(self, kv: torch.Tensor, rows_B: np.ndarray, positions_B: np.ndarray) -> None:
        self.kv, self.rows_B, self.positions_B = raw_array(kv), rows_B, positions_B
        self.scores_T = np.empty(kv.shape[4], dtype=np.float32)
        # A query and an output, widened.
        self.q_K, self.out_K = np.empty(kv.shape[5], dtype=np.float32), np.empty(kv.shape[5], dtype=np.float32)

    def __call__(
        self,
        layer: int,
        q_BHK: torch.Tensor,
        k_BGK: torch.Tensor,
        v_BGK: torch.Tensor,
        options: ScoreOptions,
        sinks_H: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Write keys and values at the rows' positions, and attend up to there; returns [B, H K] in q's dtype."""
        scale = q_BHK.shape[2] ** -0.5 if options.scale is None else options.scale
        out_BHK = torch.empty(q_BHK.shape, dtype=q_BHK.dtype)
        sinks = np.empty(0, dtype=np.float32) if sinks_H is None else sinks_H.detach().float().numpy()
        _attend(
            layer, self.kv, self.rows_B, self.positions_B, raw_array(k_BGK), raw_array(v_BGK), raw_array(q_BHK),
            np.float32(scale), options.window or 0, np.float32(options.softcap or 0), sinks, self.scores_T, self.q_K,
            self.out_K, raw_array(out_BHK),
        )  # fmt: skip
        return out_BHK.flatten(1)


@register_jitable
def _scores(q_K, keys_TK, first, end, scale, softcap, scores_T):  # type: ignore[no-untyped-def]
    """Scaled scores of the columns from `first` to before `end`; returns the highest."""
    highest = np.float32(-np.inf)
    for t in range(first, end):
        score = np.float32(0)
        for i in range(len(q_K)):
            score += q_K[i] * widen(keys_TK[t, i])
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
                a * widen(values_TK[t, i])
                + b * widen(values_TK[t + 1, i])
                + c * widen(values_TK[t + 2, i])
                + d * widen(values_TK[t + 3, i])
            )
        t += 4
    while t < end:
        a = weights_T[t]
        for i in range(size):
            out_K[i] += a * widen(values_TK[t, i])
        t += 1


@numba.njit(fastmath=True, cache=True)
def _attend(  # type: ignore[no-untyped-def]
    layer, kv, rows_B, positions_B, k_BGK, v_BGK, q_BHK, scale, window, softcap, sinks_H, scores_T, q_K,
    out_K, out_BHK
):  # fmt: skip
    tokens, heads, size = q_BHK.shape
    group = heads // k_BGK.shape[1]
    for b in range(tokens):
        position = positions_B[b]
        first, end = max(0, position + 1 - window) if window > 0 else 0, position + 1
        for g in range(k_BGK.shape[1]):
            keys_TK, values_TK = kv[0, layer, rows_B[b], g], kv[len(kv) - 1, layer, rows_B[b], g]
            keys_TK[position], values_TK[position] = k_BGK[b, g], v_BGK[b, g]
            for h in range(g * group, (g + 1) * group):
                for i in range(size):
                    q_K[i] = widen(q_BHK[b, h, i])
                highest = _scores(q_K, keys_TK, first, end, scale, softcap, scores_T)
                total = np.float32(0)
                if len(sinks_H):
                    highest = max(highest, sinks_H[h])
                    total += exp_below_zero(sinks_H[h] - highest)
                for t in range(first, end):
                    scores_T[t] = exp_below_zero(scores_T[t] - highest)
                    total += scores_T[t]
                out_K[:] = 0
                _add_values(scores_T, values_TK, first, end, out_K)
                for i in range(size):
                    out_BHK[b, h, i] = narrow(out_K[i] / total, out_BHK[b, h, i])
