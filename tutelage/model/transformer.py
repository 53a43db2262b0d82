"""The one model: a decoder-only transformer. Published families are settings of it (see `families`).

Shape suffixes: N tokens end to end, D width, H query heads, G key-value heads, K head size, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from tutelage.model import attention
from tutelage.model.fused import rms_norm, swiglu
from tutelage.model.heads import label_logprobs
from tutelage.model.rotary import rotate, rotation_table, window_rotation_table
from tutelage.model.sizes import ModelConfig, has_bias, is_gated
from tutelage.model.token_rows import TokenRows
from tutelage.records import Batch

# Where few shapes are wanted, sizes are multiples of this.
SHAPES_APART = 128

# How queries look at keys and values: (layer, q_NHK, k_NGK, v_NGK) -> [N, H K]. Training attends within segments,
# decoding over a cache; the blocks cannot tell.
Attend = Callable[[int, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


class RMSNorm(nn.RMSNorm):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert self.eps is not None
        return rms_norm(x, self.weight, self.eps)


class ZeroCentredRMSNorm(nn.RMSNorm):
    """RMSNorm whose gain is 1 + weight, so that weight decay and a weight of zero leave it at 1. As in Gemma it works
    in float32 at least: 1 + weight has no digits left for a small weight in bfloat16."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert self.eps is not None
        wide = torch.promote_types(x.dtype, torch.float32)
        return rms_norm(x.to(wide), 1 + self.weight.to(wide), self.eps).to(x.dtype)


def make_norm(config: ModelConfig) -> nn.Module:
    if config.norm == "layer":
        return nn.LayerNorm(config.width, eps=config.norm_eps, bias=config.bias)
    return make_rms_norm(config, config.width)


def make_rms_norm(config: ModelConfig, size: int) -> nn.Module:
    kind = ZeroCentredRMSNorm if config.norm == "rms_zero_centred" else RMSNorm
    return kind(size, eps=config.norm_eps)


def make_embedding(rows: int, width: int) -> nn.Embedding:
    """All zeros until `initialise`, or a file, fills it: nn.Embedding's own random numbers would be drawn for nothing,
    and on the meta device, where a model is laid out before it is read, cost a second of imports."""
    return nn.Embedding.from_pretrained(torch.zeros(rows, width), freeze=False)


class Block(nn.Module):
    """Attention, then an MLP, each added to the stream it read; norms stand before them, after them, or both."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        c, self.config, self.layer = config, config, layer
        self.whole_norm = c.qk_norm and c.qk_norm_over == "projection"
        q_and_kv, up = (c.heads + 2 * c.kv_heads) * c.head_size, c.mlp_width * (2 if is_gated(c) else 1)
        before, after = c.norm_place != "after", c.norm_place != "before"
        self.attention_norm = make_norm(c) if before else nn.Identity()
        self.qkv = nn.Linear(c.width, q_and_kv, bias=has_bias(c, "qkv"))
        self.attention_out = nn.Linear(c.heads * c.head_size, c.width, bias=has_bias(c, "attention_out"))
        if c.qk_norm:
            self.q_norm = make_rms_norm(c, c.head_size * (c.heads if self.whole_norm else 1))
            self.k_norm = make_rms_norm(c, c.head_size * (c.kv_heads if self.whole_norm else 1))
        self.attention_out_norm = make_norm(c) if after else nn.Identity()
        self.mlp_norm = make_norm(c) if before else nn.Identity()
        self.mlp_up = nn.Linear(c.width, up, bias=has_bias(c, "mlp"))
        self.mlp_down = nn.Linear(c.mlp_width, c.width, bias=has_bias(c, "mlp"))
        self.mlp_out_norm = make_norm(c) if after else nn.Identity()

    def forward(self, x_ND: torch.Tensor, rotation: torch.Tensor | None, attend: Attend) -> torch.Tensor:
        c = self.config
        qkv = self.qkv(self.attention_norm(x_ND)).unflatten(-1, (c.heads + 2 * c.kv_heads, c.head_size))
        q_NHK, k_NGK, v_NGK = qkv.split([c.heads, c.kv_heads, c.kv_heads], dim=1)
        if self.whole_norm:
            q_NHK = self.q_norm(q_NHK.flatten(1)).unflatten(-1, (c.heads, c.head_size))
            k_NGK = self.k_norm(k_NGK.flatten(1)).unflatten(-1, (c.kv_heads, c.head_size))
        elif c.qk_norm:
            q_NHK, k_NGK = self.q_norm(q_NHK), self.k_norm(k_NGK)
        if rotation is not None:
            q_NHK, k_NGK = rotate(q_NHK, rotation), rotate(k_NGK, rotation)
        x_ND = x_ND + self.attention_out_norm(self.attention_out(attend(self.layer, q_NHK, k_NGK, v_NGK)))
        return x_ND + self.mlp_out_norm(self.mlp_down(self.activation(self.mlp_up(self.mlp_norm(x_ND)))))

    def activation(self, hidden: torch.Tensor) -> torch.Tensor:
        kind = self.config.mlp
        if kind == "swiglu":
            return swiglu(hidden)
        if kind == "geglu_tanh":
            gate, up = hidden.chunk(2, dim=-1)
            return F.gelu(gate, approximate="tanh") * up
        if kind == "relu2":
            return F.relu(hidden).square()
        return F.gelu(hidden, approximate="tanh" if kind == "gelu_tanh" else "none")


class Transformer(nn.Module):
    """`model(batch)` gives the log-probabilities of the labels at the graded positions, float32 [graded], in order.

    With `recompute` training keeps of each block only what it reads, and runs it again in the backward pass. Of the
    vocabulary's rows the first `tokens` name a token; published models are often filled up with more.
    """

    rotations: torch.Tensor
    window_rotations: torch.Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config, self.recompute, self.tokens = config, False, config.vocab
        self.embedding = make_embedding(config.vocab, config.width)
        self.position_embedding = make_embedding(config.context, config.width) if config.position == "learned" else None
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.depth))
        self.rules = [attention.rules(config, layer) for layer in range(config.depth)]
        self.final_norm = make_norm(config)
        self.head = None if config.tied else nn.Linear(config.width, config.vocab, bias=False)
        self.token_rows: TokenRows | None = None  # where only some tokens' rows are trained
        if config.position == "rotary":
            self.register_buffer("rotations", torch.empty(0), persistent=False)
        if config.window_rope_theta is not None:
            self.register_buffer("window_rotations", torch.empty(0), persistent=False)
        if not self.embedding.weight.is_meta:
            self.reset_rotations()

    def reset_rotations(self) -> None:
        """Fill in the rotary tables, which are worked out and never saved."""
        device = self.embedding.weight.device
        if self.config.position == "rotary":
            self.rotations = rotation_table(self.config).to(device)
        if self.config.window_rope_theta is not None:
            self.window_rotations = window_rotation_table(self.config).to(device)

    def forward(self, batch: Batch) -> torch.Tensor:
        tokens_N, positions_N, lengths = batch.tokens_N, batch.positions_N, batch.lengths
        graded = read = batch.weights_N.nonzero()[:, 0]
        if self._few_shapes():
            if extra := -len(tokens_N) % SHAPES_APART:  # one more segment, that nobody sees
                tokens_N, positions_N = F.pad(tokens_N, (0, extra)), F.pad(positions_N, (0, extra))
                lengths = (*lengths, extra)
            read = F.pad(graded, (0, -len(graded) % SHAPES_APART))
        hidden_ND = self.hidden(tokens_N, positions_N, self.within_segments(lengths))
        if len(graded) != len(hidden_ND):
            hidden_ND = hidden_ND.index_select(0, read)
        labels = batch.labels_N.index_select(0, read)
        rows = self.token_rows
        own = () if rows is None else (rows.ids_R, rows.head_rows)
        return label_logprobs(hidden_ND, self.head_weight, labels, self.config.logit_softcap, *own)[: len(graded)]

    def _few_shapes(self) -> bool:
        """Whether batches are filled up to few different sizes. PyTorch compiles bfloat16 products on CPUs for every
        new shape, which costs several times the product."""
        device = self.embedding.weight.device.type
        return device == "cpu" and torch.is_autocast_enabled(device)

    def hidden(self, tokens_N: torch.Tensor, positions_N: torch.Tensor, attend: Attend) -> torch.Tensor:
        """The stream after the last norm, [N, D]."""
        c = self.config
        rows = self.token_rows
        x_ND = self.embedding(tokens_N) if rows is None else rows.embed(self.embedding, tokens_N)
        if c.embedding_scale != 1:
            # Rounded as the weights are: in bfloat16 Gemma was trained with 55.5, not with sqrt(3072).
            x_ND = x_ND * torch.tensor(c.embedding_scale, dtype=x_ND.dtype).item()
        if torch.is_autocast_enabled(x_ND.device.type):
            # The stream too: autocast alone would leave it, and every pass over it, in float32.
            x_ND = x_ND.to(torch.get_autocast_dtype(x_ND.device.type))
        rotation = windowed = None
        if self.position_embedding is not None:
            x_ND = x_ND + self.position_embedding(positions_N).to(x_ND.dtype)
        else:
            rotation = windowed = self.rotations[:, positions_N, None].to(x_ND.dtype)
        if c.window_rope_theta is not None:
            windowed = self.window_rotations[:, positions_N, None].to(x_ND.dtype)
        for layer, block in enumerate(self.blocks):
            turned = None if layer in c.unrotated else windowed if layer in c.windowed else rotation
            if self.recompute and torch.is_grad_enabled():
                x_ND = checkpoint(block, x_ND, turned, attend, use_reentrant=False, preserve_rng_state=False)
            else:
                x_ND = block(x_ND, turned, attend)
        return self.final_norm(x_ND)

    def logits(self, hidden_ND: torch.Tensor) -> torch.Tensor:
        """Scores of every token, [N, V]."""
        logits_NV, cap = hidden_ND @ self.head_weight.T, self.config.logit_softcap
        if self.token_rows is not None:
            logits_NV = self.token_rows.put_scores(hidden_ND, logits_NV)
        return logits_NV if cap is None else cap * torch.tanh(logits_NV / cap)

    def within_segments(self, lengths: tuple[int, ...]) -> Attend:
        """Attention that keeps every segment to itself."""
        how = attention.plan(lengths, self.embedding.weight.device)
        return lambda layer, q, k, v: attention.segment_attention(q, k, v, how, self.rules[layer])

    @property
    def head_weight(self) -> torch.Tensor:
        return self.embedding.weight if self.head is None else self.head.weight


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
            parameter.fill_(0.0 if model.config.norm == "rms_zero_centred" else 1.0)
        else:
            deviation = into_stream if name.endswith(("attention_out.weight", "mlp_down.weight")) else 0.02
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * deviation)
    return model
