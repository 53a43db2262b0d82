"""Context parallel: the processes of a group compute some tokens each of every micro-batch.

Only keys and values travel: each layer gathers those of all tokens, and each process attends from its own tokens to
those of their segments before them (Llama Team 2024, arXiv 2407.21783, section 3.3.2). So packed documents, windows and
capped scores are exact. Tokens are cut into twice as many chunks as processes; each gets one from the front and one
from the back, which balances causal attention.

Log-probabilities and heads are gathered at the end, so every loss sees the whole micro-batch. Its gradient goes back to
the process that computed it; FSDP2 sums the weights' gradients over the group as over other parts of the batch.

Shape suffixes: N tokens of the micro-batch, M those of this process, P its trained ones, H query heads, G key-value
heads, K head size, Q queries and T keys of a chunk.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.distributed.device_mesh import DeviceMesh

from tutelage.model.attention import ScoreOptions, masked_attention, repeat_heads
from tutelage.model.logprobs import label_logprobs
from tutelage.model.transformer import TEMPERATURE, Outputs, Transformer, temperatures
from tutelage.records import TOKEN_TYPES, Batch


def share_tokens(model: Transformer, mesh: DeviceMesh) -> None:
    """Share the tokens of every micro-batch of a model over the processes of `mesh`, in place.

    Raises:
        ValueError: the model trains with LoRA dropout, whose masks are of whole micro-batches.
    """
    if model.lora_dropout is not None:
        raise ValueError(f"cp {mesh.size()} does not work with LoRA dropout; set lora.dropout = 0, or use layout.dp")
    model.shared_forward = partial(_forward, mesh)


def _all_gather(own_M: torch.Tensor, mesh: DeviceMesh) -> torch.Tensor:
    """The rows of all processes, end to end."""
    gathered = own_M.new_empty((mesh.size() * len(own_M), *own_M.shape[1:]))
    dist.all_gather_into_tensor(gathered, own_M.contiguous(), group=mesh.get_group())
    return gathered


class _GatherKeys(torch.autograd.Function):
    """Keys and values of all processes, end to end. Each process attends to them with other queries, so the gradients
    are summed where they were computed."""

    @staticmethod
    def forward(ctx: Any, own_M: torch.Tensor, mesh: DeviceMesh) -> torch.Tensor:
        ctx.mesh = mesh
        return _all_gather(own_M, mesh)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        own = grad.new_empty((len(grad) // ctx.mesh.size(), *grad.shape[1:]))
        dist.reduce_scatter_tensor(own, grad.contiguous(), group=ctx.mesh.get_group())
        return own, None


class _Gather(torch.autograd.Function):
    """The values of all processes, in the order of the tokens. The gradient of each goes to the process that computed
    it: all have the same loss, so summing would count it once for each process."""

    @staticmethod
    def forward(ctx: Any, own_M: torch.Tensor, chunks: Chunks) -> torch.Tensor:
        ctx.chunks = chunks
        return chunks.in_order(_all_gather(own_M, chunks.mesh))

    @staticmethod
    def backward(ctx: Any, grad_N: torch.Tensor) -> tuple[torch.Tensor, None]:
        return grad_N[ctx.chunks.own_M], None


class Chunks:
    """Which tokens of a micro-batch of `length` tokens, a multiple of twice the processes, are of which process.

    own_M:   the tokens of this process: a chunk from the front and one from the back.
    place_N: the place of each token where the parts of all processes are laid end to end.
    """

    def __init__(self, length: int, mesh: DeviceMesh, device: torch.device) -> None:
        self.mesh, count = mesh, mesh.size()
        chunks = torch.arange(length, device=device).chunk(2 * count)
        parts = [torch.cat([chunks[number], chunks[-1 - number]]) for number in range(count)]
        self.own_M = parts[mesh.get_local_rank()]
        self.place_N = torch.argsort(torch.cat(parts))
        self.size = length // (2 * count)

    def in_order(self, gathered: torch.Tensor) -> torch.Tensor:
        """What all processes have, in the order of the tokens."""
        return gathered.index_select(0, self.place_N)


def _forward(mesh: DeviceMesh, model: Transformer, batch: Batch, heads: bool, labels: bool) -> torch.Tensor | Outputs:
    """`Transformer.forward` of a micro-batch whose tokens the processes share."""
    count, device = len(batch.tokens_N), batch.tokens_N.device
    extra = -count % (2 * mesh.size())  # one more segment, whose outputs are dropped
    chunks = Chunks(count + extra, mesh, device)
    own_M = chunks.own_M
    tokens_N, positions_N, labels_N, weights_N = (
        F.pad(x, (0, extra)) for x in (batch.tokens_N, batch.positions_N, batch.labels_N, batch.weights_N)
    )
    lengths = (*batch.lengths, extra) if extra else batch.lengths
    types_N = batch.streams.get(TOKEN_TYPES)
    types_M = None if types_N is None else F.pad(types_N, (0, extra))[own_M]
    attend = partial(_attend, model, chunks, _segment_bounds(lengths, device))
    hidden_MD = model.hidden(tokens_N[own_M], positions_N[own_M], attend, types_M)
    gathered = {
        name: _Gather.apply(values, chunks)[:count]
        for name, values in (model.head_outputs(hidden_MD) if heads else {}).items()
    }
    if not labels:
        return Outputs(hidden_MD.new_zeros(0), gathered)
    if TEMPERATURE in batch.scalars:
        hidden_MD = hidden_MD / F.pad(temperatures(batch), (0, 0, 0, extra), value=1.0)[own_M]
    if model.mlm_head is not None:
        hidden_MD = model.mlm_head(hidden_MD)
    trained_P = weights_N[own_M].nonzero()[:, 0]
    rows = model.embedding_rows
    row_arguments = () if rows is None else (rows.ids_R, rows.head_rows)
    logprobs_P = label_logprobs(
        hidden_MD.index_select(0, trained_P),
        model.head_weight,
        labels_N[own_M].index_select(0, trained_P),
        model.config.logit_softcap,
        *row_arguments,
    )
    own = logprobs_P.new_zeros(len(own_M)).index_put((trained_P,), logprobs_P)
    logprobs = _Gather.apply(own, chunks)[:count][batch.weights_N != 0]
    return Outputs(logprobs, gathered) if heads else logprobs


def _segment_bounds(lengths: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """The first token, and the one after the last, of the segment of each token, int64 [2, N]."""
    sizes = torch.tensor(lengths, device=device)
    ends = sizes.cumsum(0)
    return torch.stack([ends - sizes, ends]).repeat_interleave(sizes, dim=1)


def _attend(
    model: Transformer,
    chunks: Chunks,
    bounds_2N: torch.Tensor,
    layer: int,
    q_MHK: torch.Tensor,
    k_MGK: torch.Tensor,
    v_MGK: torch.Tensor,
    sinks_H: torch.Tensor | None = None,
) -> torch.Tensor:
    """Attention of this process's tokens to all tokens of their segments; [M, H K]."""
    options, sinks = model.score_options[layer], None if sinks_H is None else sinks_H[:, None, None]
    together = torch.cat([k_MGK, v_MGK], dim=2)
    k_NGK, v_NGK = chunks.in_order(_GatherKeys.apply(together, chunks.mesh)).split([k_MGK.shape[2], v_MGK.shape[2]], 2)
    outputs = []
    for own_Q, q_QHK in zip(chunks.own_M.split(chunks.size), q_MHK.split(chunks.size), strict=True):
        first, last = int(own_Q[0]), int(own_Q[-1])
        start, stop = int(bounds_2N[0, first]), last + 1 if options.causal else int(bounds_2N[1, last])
        mask_QT = _mask(own_Q, torch.arange(start, stop, device=own_Q.device), bounds_2N[0], options, q_QHK.dtype)
        k_HTK, v_HTK = (repeat_heads(x[None, start:stop].transpose(1, 2), q_QHK.shape[1])[0] for x in (k_NGK, v_NGK))
        o_HQK = masked_attention(q_QHK.transpose(0, 1), k_HTK, v_HTK, mask_QT, options, sinks)
        outputs.append(o_HQK.transpose(0, 1).flatten(1))
    return torch.cat(outputs)


def _mask(
    query_Q: torch.Tensor, key_T: torch.Tensor, segment_N: torch.Tensor, options: ScoreOptions, dtype: torch.dtype
) -> torch.Tensor:
    """Additive mask, [Q, T]: 0 where a token sees another, minus infinity elsewhere."""
    hidden_QT = segment_N[query_Q][:, None] != segment_N[key_T][None, :]
    distance_QT = query_Q[:, None] - key_T[None, :]
    if options.causal:
        hidden_QT |= distance_QT < 0
    if options.window is not None:
        hidden_QT |= distance_QT >= options.window
    return torch.zeros(hidden_QT.shape, dtype=dtype, device=key_T.device).masked_fill_(hidden_QT, -torch.inf)
