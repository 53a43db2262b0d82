"""Multi-head latent attention (MLA, DeepSeek-V2, arXiv 2405.04434, section 2.1): keys and values of all heads are
computed from one small vector per token, the latent, and one rotated key that heads share. A cache holds these alone.

In training, and for tokens that see only each other, keys and values are computed and attended to as in any model. For
tokens that see a cache, the matrices that compute them are absorbed into queries and outputs: every head attends to the
latents themselves, as to one key head. Absorbed, a prompt of 1,024 tokens takes 1.6 times as long, one of 64 1.1 times.

Shape suffixes: N tokens, D width, H heads, K size of a query or key, P its part without positions, R rotated part,
V size of a value, C size of the latent.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from tutelage.model.rotary import rotate
from tutelage.model.settings import Latent
from tutelage.model.sizes import ModelConfig

# Of the norms of compressed queries and latents, whatever that of the others.
LATENT_EPS = 1e-6

HeadsAttend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


class LatentCache:
    """Attention over a cache, which holds latents with rotated keys. `fresh` are the tokens of a step that see only
    each other: no earlier token of theirs is cached."""

    fresh: slice

    def among_fresh(
        self, layer: int, q_NHK: torch.Tensor, k_NGK: torch.Tensor, v_NGK: torch.Tensor, sinks_H: torch.Tensor | None
    ) -> torch.Tensor:
        """Attention of the fresh tokens, [fresh, H K]."""
        raise NotImplementedError

    def over_cache(self, layer: int, q_NHK: torch.Tensor, k_N1K: torch.Tensor) -> torch.Tensor:
        """Write the latents of all tokens of a step, and attend from those that are not fresh, whose queries `q_NHK`
        are; [not fresh, H K]."""
        raise NotImplementedError


def latent_modules(
    config: ModelConfig, latent: Latent, norm: Callable[[int, float], nn.Module]
) -> dict[str, nn.Module]:
    """The layers of a block's attention, by name; `norm` makes an RMSNorm of a size."""
    heads, width, queries = config.heads, config.width, config.heads * (latent.plain + latent.rotated)
    modules: dict[str, nn.Module] = {}
    if latent.query_rank is None:
        modules["q"] = nn.Linear(width, queries, bias=False)
    else:
        modules["q_down"] = nn.Linear(width, latent.query_rank, bias=False)
        modules["q_down_norm"] = norm(latent.query_rank, LATENT_EPS)
        modules["q_up"] = nn.Linear(latent.query_rank, queries, bias=False)
    return {
        **modules,
        "kv_down": nn.Linear(width, latent.rank + latent.rotated, bias=False),
        "kv_down_norm": norm(latent.rank, LATENT_EPS),
        "kv_up": nn.Linear(latent.rank, heads * (latent.plain + latent.value), bias=False),
        "attention_out": nn.Linear(heads * latent.value, width, bias=False),
    }


def latent_attention(
    block: Any, latent: Latent, heads: int, x_ND: torch.Tensor, rotation: torch.Tensor | None, attend: Any
) -> torch.Tensor:
    """The attention of a block with these modules, [N, H V], before its output projection. Rows of `q`, `q_up` and
    `kv_up` hold first what has no positions (and keys), then the rest, each of all heads."""
    plain, rotated, layer = latent.plain, latent.rotated, block.layer
    queries = block.q(x_ND) if latent.query_rank is None else block.q_up(block.q_down_norm(block.q_down(x_ND)))
    q_plain, q_rotated = queries.split([heads * plain, heads * rotated], dim=-1)
    q_NHP, q_NHR = q_plain.unflatten(-1, (heads, plain)), q_rotated.unflatten(-1, (heads, rotated))
    c_NC, k_NR = block.kv_down(x_ND).split([latent.rank, rotated], dim=-1)
    c_NC, k_N1R = block.kv_down_norm(c_NC), k_NR[:, None]
    if rotation is not None:
        q_NHR, k_N1R = rotate(q_NHR, rotation), rotate(k_N1R, rotation)
    if not isinstance(attend, LatentCache):
        return _over_heads(block, latent, (q_NHP, q_NHR), (c_NC, k_N1R), partial(attend, layer))
    start, end = attend.fresh.start, attend.fresh.stop
    earlier = [torch.cat([q[:start], q[end:]]) if end > start else q for q in (q_NHP, q_NHR)]
    o_NO = _over_latents(
        block.kv_up.weight, latent, (earlier[0], earlier[1]), (c_NC, k_N1R), partial(attend.over_cache, layer)
    )
    if end == start:
        return o_NO
    fresh = [tensor[start:end] for tensor in (q_NHP, q_NHR, c_NC, k_N1R)]
    among = partial(attend.among_fresh, layer, sinks_H=None)
    fresh_NO = _over_heads(block, latent, (fresh[0], fresh[1]), (fresh[2], fresh[3]), among)
    return torch.cat([o_NO[:start], fresh_NO.to(o_NO.dtype), o_NO[start:]])


def _over_heads(
    block: Any,
    latent: Latent,
    queries: tuple[torch.Tensor, torch.Tensor],
    cached: tuple[torch.Tensor, torch.Tensor],
    attend: HeadsAttend,
) -> torch.Tensor:
    """Attention to the keys and values that are computed from latents."""
    (q_NHP, q_NHR), (c_NC, k_N1R), heads, size = queries, cached, queries[0].shape[1], latent.plain + latent.rotated
    keys, values = block.kv_up(c_NC).split([heads * latent.plain, heads * latent.value], dim=-1)
    k_NHP, v_NHV = keys.unflatten(-1, (heads, latent.plain)), values.unflatten(-1, (heads, latent.value))
    q_NHK = torch.cat([q_NHP, q_NHR], dim=-1)
    k_NHK = torch.cat([k_NHP, k_N1R.expand(-1, heads, -1).to(k_NHP.dtype)], dim=-1)
    # Kernels want values of the size of keys; the zeros are cut off again.
    v_NHK = F.pad(v_NHV, (0, size - latent.value))
    return attend(q_NHK, k_NHK, v_NHK).unflatten(-1, (heads, -1))[..., : latent.value].flatten(1)


def _over_latents(
    kv_up: torch.Tensor,
    latent: Latent,
    queries: tuple[torch.Tensor, torch.Tensor],
    cached: tuple[torch.Tensor, torch.Tensor],
    attend: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """The same, attending to latents: q (U c) = (q U) c for keys, and the mean of U c is U times the mean of c. The
    key is also the value, and its rotated part is cut off after."""
    (q_NHP, q_NHR), (c_NC, k_N1R), heads = queries, cached, queries[0].shape[1]
    key_up, value_up = kv_up.split([heads * latent.plain, heads * latent.value])
    q_NHC = torch.einsum("nhp,hpc->nhc", q_NHP, key_up.unflatten(0, (heads, latent.plain)))
    q_NHK = torch.cat([q_NHC, q_NHR.to(q_NHC.dtype)], dim=-1)
    k_N1K = torch.cat([c_NC[:, None], k_N1R.to(c_NC.dtype)], dim=-1)
    mean_NHC = attend(q_NHK, k_N1K).unflatten(-1, (heads, -1))[..., : latent.rank]
    return torch.einsum("nhc,hvc->nhv", mean_NHC, value_up.unflatten(0, (heads, latent.value))).flatten(1)


def kv_rows(heads: int, latent: Latent) -> torch.Tensor:
    """The rows of our `kv_up` in DeepSeek's order: keys and values of head 0, then of head 1, and so on."""
    keys = torch.arange(heads * latent.plain).unflatten(0, (heads, -1))
    values = torch.arange(heads * latent.value).unflatten(0, (heads, -1)) + keys.numel()
    return torch.cat([keys, values], dim=1).flatten()


def q_rows(heads: int, latent: Latent) -> torch.Tensor:
    """The rows of our `q` or `q_up` in DeepSeek's order: by head, with pairs of rotated rows side by side."""
    plain = torch.arange(heads * latent.plain).unflatten(0, (heads, -1))
    rotated = torch.arange(heads * latent.rotated).unflatten(0, (heads, -1))[:, _interleaved(latent)] + plain.numel()
    return torch.cat([plain, rotated], dim=1).flatten()


def kv_down_rows(latent: Latent) -> torch.Tensor:
    """The rows of our `kv_down` in DeepSeek's order: pairs of rotated rows side by side."""
    return torch.cat([torch.arange(latent.rank), latent.rank + _interleaved(latent)])


def _interleaved(latent: Latent) -> torch.Tensor:
    """Our places of rotated rows, which are in halves, in the order of pairs: 0, R/2, 1, R/2 + 1 ..."""
    return torch.arange(latent.rotated).unflatten(0, (2, -1)).T.flatten()
