"""Bytes that training a model takes: weights, gradients, optimizer state and activations."""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from tutelage.model.four_bit import BYTES_PER_WEIGHT
from tutelage.model.sizes import ModelConfig, expert_layers, is_gated, matrix_weights, parameter_count


def training_bytes(config: ModelConfig, muon: bool, state_bits: int = 32) -> int:
    """Bytes of weights, gradients and optimizer state in float32. AdamW keeps two numbers per weight, in `state_bits`
    bits, Muon one; Muon trains the matrices of the blocks."""
    count = parameter_count(config)
    matrices = matrix_weights(config) if muon else 0
    return 8 * count + 4 * matrices + adamw_state_bytes(count - matrices, state_bits)


def adamw_state_bytes(count: int, state_bits: int) -> int:
    """Bytes of AdamW's state for `count` weights. In 8 bits, 256 numbers share a float32 scale (see
    `train.eight_bit`)."""
    return 8 * count if state_bits == 32 else 2 * count + 2 * 4 * math.ceil(count / 256)


def lora_shapes(config: ModelConfig) -> list[tuple[int, int]]:
    """Inputs and outputs of every matrix that has a LoRA pair by default; query, key, value, gate and up count as
    separate matrices. Routed experts, routers, and what computes keys and values from latents have none."""
    width, queries, keys = config.width, config.heads * config.head_size, config.kv_heads * config.head_size
    latent, experts, layers = config.latent, config.experts, len(expert_layers(config))
    if latent is None:
        attention = [(width, queries), (width, keys), (width, keys), (queries, width)]
    else:
        rank = latent.query_rank
        attention = [(width, queries)] if rank is None else [(width, rank), (rank, queries)]
        attention += [(width, latent.rank + latent.rotated), (config.heads * latent.value, width)]

    def mlp(hidden: int) -> list[tuple[int, int]]:
        return [*[(width, hidden)] * (2 if is_gated(config) else 1), (hidden, width)] if hidden else []

    shared = 0 if experts is None else experts.shared * experts.width
    return config.depth * attention + (config.depth - layers) * mlp(config.mlp_width) + layers * mlp(shared)


def lora_parameters(config: ModelConfig, rank: int, dora: bool = False) -> int:
    """Parameters of a LoRA on all these matrices, with the magnitudes of DoRA if asked for."""
    return sum(rank * (inputs + outputs) + (outputs if dora else 0) for inputs, outputs in lora_shapes(config))


def lora_training_bytes(
    config: ModelConfig,
    rank: int,
    base_dtype: Literal["float32", "bfloat16", "nf4"] = "float32",
    *,
    dora: bool = False,
    state_bits: int = 32,
) -> int:
    """Bytes of the frozen weights, of LoRA weights and gradients in float32, and of AdamW state."""
    trained, count = lora_parameters(config, rank, dora), parameter_count(config)
    packed = sum(inputs * outputs for inputs, outputs in lora_shapes(config)) if base_dtype == "nf4" else 0
    frozen = (4 if base_dtype == "float32" else 2) * (count - packed) + math.ceil(BYTES_PER_WEIGHT * packed)
    return frozen + 8 * trained + adamw_state_bytes(trained, state_bits)


def activation_bytes(
    config: ModelConfig, tokens: int, segment: int | None = None, *, activation_checkpointing: bool = False
) -> int:
    """Bytes of float32 activations that the forward pass of `tokens` tokens saves for the backward pass.

    segment:                  tokens of a segment, None is the context; matters only where scores are capped, as those
                              are saved whole.
    activation_checkpointing: count the input of each block, and all activations of the largest block.
    """
    if config.mtp:  # each saves what a block does; the logits of its labels are made in chunks, as those of the model
        plain = msgspec.structs.replace(config, mtp=0)
        deeper = msgspec.structs.replace(plain, depth=config.depth + config.mtp)
        kept = activation_bytes(deeper, tokens, segment, activation_checkpointing=activation_checkpointing)
        return kept + config.mtp * 4 * tokens * 7 * config.width
    width = config.width
    norm = 2 * width  # its input, and its output, which the following matrix saves
    # With norms only after attention and MLP, the matrices save the residual stream instead.
    norms = 2 * norm + (2 * width if config.norm_place == "both" else 0)
    with_experts, segment = set(expert_layers(config)), segment or config.context
    blocks = [
        norms
        + (_attention(config, layer, segment) if config.latent is None else _latent_attention(config))
        + (_experts(config) if layer in with_experts else config.mlp_width * _hidden_copies(config))
        for layer in range(config.depth)
    ]
    saved = max(blocks) + config.depth * width if activation_checkpointing else sum(blocks)
    return 4 * tokens * (saved + norm + width)


def _attention(config: ModelConfig, layer: int, segment: int) -> int:
    """Numbers that the attention of a layer saves for a token."""
    queries, keys = config.heads * config.head_size, config.kv_heads * config.head_size
    # Queries, keys and values are views of one product, which stays in memory while any of the three is saved.
    product, copied = queries + 2 * keys, config.position == "rotary" or config.qk_norm
    capped = config.attention_softcap is not None or config.sinks
    windowed = layer in config.windowed and config.window is not None and config.window < segment
    saved = product + (queries + keys if copied else 0)
    if (capped or windowed) and config.kv_heads != config.heads:  # keys and values are repeated for every query head
        saved = 2 * queries + (queries if copied else 0) + (product if config.qk_norm or not copied else 0)
    if config.attention_softcap is not None:
        return saved + queries + 2 * config.heads * segment
    return saved + queries + (config.heads * (segment + 1) if config.sinks else 0)


def _latent_attention(config: ModelConfig) -> int:
    """Numbers that latent attention saves for a token: compressed vectors before and after their norms; queries, keys
    and values of all heads, of one size; the output of attention, and what of it is not padding."""
    latent, heads = config.latent, config.heads
    assert latent is not None
    compressed = 2 * (latent.query_rank or 0) + 2 * latent.rank + latent.rotated
    size = latent.plain + latent.rotated
    return compressed + 4 * heads * size + (heads * latent.value if latent.value < size else 0)


def _hidden_copies(config: ModelConfig) -> int:
    """How often an MLP saves its hidden size: what the activation reads and writes."""
    return {"swiglu": 3, "swiglu_clamped": 7, "geglu_tanh": 4}.get(config.mlp, 2)


def _experts(config: ModelConfig) -> int:
    """Numbers that a mixture of experts saves for a token: its scores, its copies for the experts that it chose, and
    what these make of them; shared experts are one MLP."""
    experts = config.experts
    assert experts is not None
    routed = experts.used * (2 * config.width + experts.width * _hidden_copies(config))
    return experts.count + 2 * experts.used + routed + experts.shared * experts.width * _hidden_copies(config)
