"""The one model: a decoder-only transformer, pre-norm, on a page.

Shape suffixes: N tokens end to end, D width, H query heads, G key-value heads, K head size, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from tutelage.model import attention
from tutelage.model.heads import label_logprobs
from tutelage.model.sizes import ModelConfig
from tutelage.records import Batch

# How queries look at keys and values: (layer, q_NHK, k_NGK, v_NGK) -> [N, H K]. Training attends within segments,
# decoding over a cache; the blocks cannot tell.
Attend = Callable[[int, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def make_norm(config: ModelConfig) -> nn.Module:
    if config.norm == "rms":
        return nn.RMSNorm(config.width, eps=config.norm_eps)
    return nn.LayerNorm(config.width, eps=config.norm_eps, bias=config.bias)


class Block(nn.Module):
    """Attention, then an MLP, each added to the stream it read through a norm."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.config, self.layer = config, layer
        q_and_kv = (config.heads + 2 * config.kv_heads) * config.head_size
        self.attention_norm = make_norm(config)
        self.qkv = nn.Linear(config.width, q_and_kv, bias=config.bias)
        self.attention_out = nn.Linear(config.heads * config.head_size, config.width, bias=config.bias)
        if config.qk_norm:
            self.q_norm = nn.RMSNorm(config.head_size, eps=config.norm_eps)
            self.k_norm = nn.RMSNorm(config.head_size, eps=config.norm_eps)
        self.mlp_norm = make_norm(config)
        self.mlp_up = nn.Linear(config.width, config.mlp_width * (2 if config.mlp == "swiglu" else 1), bias=config.bias)
        self.mlp_down = nn.Linear(config.mlp_width, config.width, bias=config.bias)

    def forward(self, x_ND: torch.Tensor, rotation: torch.Tensor | None, attend: Attend) -> torch.Tensor:
        c = self.config
        qkv = self.qkv(self.attention_norm(x_ND)).unflatten(-1, (c.heads + 2 * c.kv_heads, c.head_size))
        q_NHK, k_NGK, v_NGK = qkv.split([c.heads, c.kv_heads, c.kv_heads], dim=1)
        if c.qk_norm:
            q_NHK, k_NGK = self.q_norm(q_NHK), self.k_norm(k_NGK)
        if rotation is not None:
            q_NHK, k_NGK = rotate(q_NHK, rotation), rotate(k_NGK, rotation)
        x_ND = x_ND + self.attention_out(attend(self.layer, q_NHK, k_NGK, v_NGK))
        return x_ND + self.mlp_down(self.activation(self.mlp_up(self.mlp_norm(x_ND))))

    def activation(self, hidden: torch.Tensor) -> torch.Tensor:
        if self.config.mlp == "swiglu":
            gate, up = hidden.chunk(2, dim=-1)
            return F.silu(gate) * up
        return F.gelu(hidden) if self.config.mlp == "gelu" else F.relu(hidden).square()


def rotate(x_NHK: torch.Tensor, rotation: torch.Tensor) -> torch.Tensor:
    """Turn each pair (k, k + K/2) of a head by its position's angle (RoPE, arXiv 2104.09864, in Llama's half-split
    layout). rotation: [2, N, 1, K/2], cosines and sines."""
    return _Rotate.apply(x_NHK, rotation) if x_NHK.requires_grad else _turned(x_NHK, rotation[0], rotation[1])


class _Rotate(torch.autograd.Function):
    """The gradient is turned back by the same angle: autograd's own way would copy everything several times."""

    @staticmethod
    def forward(ctx, x_NHK, rotation):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(rotation)
        return _turned(x_NHK, rotation[0], rotation[1])

    @staticmethod
    def backward(ctx, grad_NHK):  # type: ignore[no-untyped-def]
        (rotation,) = ctx.saved_tensors
        return _turned(grad_NHK, rotation[0], -rotation[1]), None


def _turned(x_NHK: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> torch.Tensor:
    half = x_NHK.shape[-1] // 2
    first, second = x_NHK[..., :half], x_NHK[..., half:]
    out_NHK = torch.empty(x_NHK.shape, dtype=x_NHK.dtype, device=x_NHK.device)
    torch.mul(first, cosines, out=out_NHK[..., :half]).addcmul_(second, sines, value=-1)
    torch.mul(second, cosines, out=out_NHK[..., half:]).addcmul_(first, sines)
    return out_NHK


class Transformer(nn.Module):
    """`model(batch)` gives the log-probabilities of the labels at the graded positions, float32 [graded], in order."""

    rotations: torch.Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab, config.width)
        self.position_embedding = nn.Embedding(config.context, config.width) if config.position == "learned" else None
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.depth))
        self.final_norm = make_norm(config)
        self.head = None if config.tied else nn.Linear(config.width, config.vocab, bias=False)
        if config.position == "rotary":
            self.register_buffer("rotations", rotation_table(config), persistent=False)

    def reset_rotations(self) -> None:
        """Fill in the rotary table, which is worked out and never saved."""
        if self.config.position == "rotary":
            self.rotations = rotation_table(self.config).to(self.embedding.weight.device)

    def forward(self, batch: Batch) -> torch.Tensor:
        graded = batch.weights_N.nonzero()[:, 0]
        hidden_ND = self.hidden(batch.tokens_N, batch.positions_N, self.within_segments(batch.lengths))
        if len(graded) != len(hidden_ND):
            hidden_ND = hidden_ND.index_select(0, graded)
        return label_logprobs(hidden_ND, self.head_weight, batch.labels_N.index_select(0, graded))

    def hidden(self, tokens_N: torch.Tensor, positions_N: torch.Tensor, attend: Attend) -> torch.Tensor:
        """The stream after the last norm, [N, D]."""
        x_ND = self.embedding(tokens_N)
        rotation = None
        if self.position_embedding is not None:
            x_ND = x_ND + self.position_embedding(positions_N)
        else:
            rotation = self.rotations[:, positions_N, None].to(x_ND.dtype)
        for block in self.blocks:
            x_ND = block(x_ND, rotation, attend)
        return self.final_norm(x_ND)

    def logits(self, hidden_ND: torch.Tensor) -> torch.Tensor:
        """Scores of every token, [N, V]."""
        return hidden_ND @ self.head_weight.T

    def within_segments(self, lengths: tuple[int, ...]) -> Attend:
        """Attention that keeps every segment to itself."""
        how = attention.plan(lengths, self.embedding.weight.device)
        return lambda layer, q, k, v: attention.segment_attention(q, k, v, how)

    @property
    def head_weight(self) -> torch.Tensor:
        return self.embedding.weight if self.head is None else self.head.weight


def rotation_table(config: ModelConfig) -> torch.Tensor:
    """Cosines and sines for every position, float32 [2, context, K/2]; angles in float64, where position 100,000
    times the fastest frequency keeps its digits."""
    half = torch.arange(config.head_size // 2, dtype=torch.float64) * 2 / config.head_size
    angles = torch.arange(config.context, dtype=torch.float64)[:, None] / config.rope_theta ** half[None, :]
    return torch.stack((angles.cos(), angles.sin())).float()


@torch.no_grad()
def initialise(model: Transformer, seed: int) -> Transformer:
    """Random weights: normal with deviation 0.02, the two maps into the stream scaled down by sqrt(2 depth) so that the
    stream's variance does not grow with depth (GPT-2, Radford et al. 2019, section 2.3). Same seed, same weights."""
    generator = torch.Generator().manual_seed(seed)
    into_stream = 0.02 / math.sqrt(2 * model.config.depth)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.zero_()
        elif parameter.ndim == 1:
            parameter.fill_(1.0)
        else:
            deviation = into_stream if name.endswith(("attention_out.weight", "mlp_down.weight")) else 0.02
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * deviation)
    return model
