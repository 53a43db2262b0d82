"""A block of the transformer: attention and an MLP, or a mixture of experts, with residual connections and norms.

Shape suffixes: N tokens laid end to end, D width, H query heads, G key-value heads, K head size.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any, Protocol

import torch
from torch import nn

from tutelage.model.fused_ops import rms_norm
from tutelage.model.latent import latent_attention, latent_modules
from tutelage.model.mlp import activation
from tutelage.model.moe import ExpertMLPs, Router, Routing
from tutelage.model.rotary import rotate
from tutelage.model.sizes import ModelConfig, expert_layers, has_bias, is_gated


class Attend(Protocol):
    """Attention of a layer to what its tokens see, [N, H K]: in training within segments, in decoding over a cache;
    blocks are the same for both. `sinks_H` are scores of heads, of models that have them."""

    def __call__(
        self,
        layer: int,
        q_NHK: torch.Tensor,
        k_NGK: torch.Tensor,
        v_NGK: torch.Tensor,
        sinks_H: torch.Tensor | None = None,
        /,
    ) -> torch.Tensor: ...


class Sinks(nn.Module):
    """A score of each head that attention may go to instead of a token."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(heads))


class RMSNorm(nn.RMSNorm):
    """nn.RMSNorm with the fused operation of `fused_ops`."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert self.eps is not None
        return rms_norm(x, self.weight, self.eps)


class ZeroCentredRMSNorm(nn.RMSNorm):
    """RMSNorm with gain 1 + weight, so weight decay pulls the gain towards 1. As in Gemma it computes in float32 at
    least: in bfloat16 1 + weight would round a small weight away."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert self.eps is not None
        wide = torch.promote_types(x.dtype, torch.float32)
        return rms_norm(x.to(wide), 1 + self.weight.to(wide), self.eps).to(x.dtype)


def make_norm(config: ModelConfig) -> nn.Module:
    """The norm of the residual stream."""
    if config.norm == "layer":
        return nn.LayerNorm(config.width, eps=config.norm_eps, bias=config.bias)
    return make_rms_norm(config, config.width)


def make_rms_norm(config: ModelConfig, size: int) -> nn.Module:
    """An RMSNorm over `size` numbers, of the model's kind."""
    kind = ZeroCentredRMSNorm if config.norm == "rms_zero_centred" else RMSNorm
    return kind(size, eps=config.norm_eps)


class Block(nn.Module):
    """Attention and MLP with residual connections; norms come before them, after them, both, or after the residual."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        c, self.config, self.layer = config, config, layer
        self.norm_over_projection = c.qk_norm and c.qk_norm_over == "projection"
        qkv_rows = (c.heads + 2 * c.kv_heads) * c.head_size
        before, after = c.norm_place in ("before", "both"), c.norm_place != "before"
        self.post_norm = c.norm_place == "post"
        self.attention_norm = make_norm(c) if before else nn.Identity()
        self.absorbed = False  # True in inference copies with latent attention
        self.compiled = False  # see `train.kernels`
        if c.latent is not None:
            for name, module in latent_modules(c, c.latent, lambda size, eps: RMSNorm(size, eps=eps)).items():
                setattr(self, name, module)
        else:
            self.qkv = nn.Linear(c.width, qkv_rows, bias=has_bias(c, "qkv"))
            self.attention_out = nn.Linear(c.heads * c.head_size, c.width, bias=has_bias(c, "attention_out"))
        self.sinks = Sinks(c.heads) if c.sinks else None
        if c.qk_norm:
            self.q_norm = make_rms_norm(c, c.head_size * (c.heads if self.norm_over_projection else 1))
            self.k_norm = make_rms_norm(c, c.head_size * (c.kv_heads if self.norm_over_projection else 1))
        self.attention_out_norm = make_norm(c) if after else nn.Identity()
        self.mlp_norm = make_norm(c) if before else nn.Identity()
        experts = c.experts if layer in expert_layers(c) else None
        self.has_experts, gates = experts is not None, 2 if is_gated(c) else 1
        if experts is None:
            self.mlp_up = nn.Linear(c.width, gates * c.mlp_width, bias=has_bias(c, "mlp"))
            self.mlp_down = nn.Linear(c.mlp_width, c.width, bias=has_bias(c, "mlp"))
        else:
            self.router, self.experts = Router(c.width, experts), ExpertMLPs(c, experts)
        if experts is not None and experts.shared:
            shared = experts.shared * experts.width
            self.shared_up = nn.Linear(c.width, gates * shared, bias=has_bias(c, "mlp"))
            self.shared_down = nn.Linear(shared, c.width, bias=has_bias(c, "mlp"))
        self.mlp_out_norm = make_norm(c) if after else nn.Identity()

    def forward(
        self, x_ND: torch.Tensor, rotation: torch.Tensor | None, attend: Attend
    ) -> tuple[torch.Tensor, Routing | None]:
        """The residual stream after the block; and, of a mixture of experts, what its router decided. It is returned,
        not stored, so that running the block again for the backward pass counts nothing twice."""
        c = self.config
        before, after = compiled_halves() if self.compiled and torch.is_grad_enabled() else (heads_of, rest_of)
        if c.latent is not None:
            heads = partial(attend, self.layer)
            o_NO = latent_attention(self, c.latent, c.heads, self.attention_norm(x_ND), rotation, heads)
        else:
            q_NHK, k_NGK, v_NGK = before(self, x_ND, rotation)
            o_NO = attend(self.layer, q_NHK, k_NGK, v_NGK, None if self.sinks is None else self.sinks.weight)
        return after(self, x_ND, o_NO)

    def mlp(self, x_ND: torch.Tensor) -> tuple[torch.Tensor, Routing | None]:
        kind = self.config.mlp
        if not self.has_experts:
            return self.mlp_down(activation(kind, self.mlp_up(x_ND))), None
        routing = self.router(x_ND)
        y_ND = self.experts(x_ND, routing)
        if hasattr(self, "shared_up"):
            y_ND = y_ND + self.shared_down(activation(kind, self.shared_up(x_ND)))
        return y_ND, routing


def heads_of(
    block: Block, x_ND: torch.Tensor, rotation: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Queries, keys and values of a block that has no latent attention."""
    c = block.config
    qkv = block.qkv(block.attention_norm(x_ND)).unflatten(-1, (c.heads + 2 * c.kv_heads, c.head_size))
    q_NHK, k_NGK, v_NGK = qkv.split([c.heads, c.kv_heads, c.kv_heads], dim=1)
    if block.norm_over_projection:
        q_NHK = block.q_norm(q_NHK.flatten(1)).unflatten(-1, (c.heads, c.head_size))
        k_NGK = block.k_norm(k_NGK.flatten(1)).unflatten(-1, (c.kv_heads, c.head_size))
    elif c.qk_norm:
        q_NHK, k_NGK = block.q_norm(q_NHK), block.k_norm(k_NGK)
    if rotation is not None and not qkv.requires_grad and not c.qk_norm:  # queries and keys in one operation
        q_NHK, k_NGK = rotate(qkv[:, : c.heads + c.kv_heads], rotation).split([c.heads, c.kv_heads], dim=1)
    elif rotation is not None:
        q_NHK, k_NGK = rotate(q_NHK, rotation), rotate(k_NGK, rotation)
    return q_NHK, k_NGK, v_NGK


def rest_of(block: Block, x_ND: torch.Tensor, o_NO: torch.Tensor) -> tuple[torch.Tensor, Routing | None]:
    """What `Block.forward` returns, from the block's input and what its heads attended to."""
    y_ND = block.attention_out(o_NO)
    x_ND = block.attention_out_norm(x_ND + y_ND) if block.post_norm else x_ND + block.attention_out_norm(y_ND)
    y_ND, routing = block.mlp(block.mlp_norm(x_ND))
    x_ND = block.mlp_out_norm(x_ND + y_ND) if block.post_norm else x_ND + block.mlp_out_norm(y_ND)
    return x_ND, routing


@cache
def compiled_halves() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """`heads_of` and `rest_of`, compiled once for all blocks and numbers of tokens. Attention between them is one
    kernel already, and its shapes change with every batch."""
    return torch.compile(heads_of, dynamic=True), torch.compile(rest_of, dynamic=True)
