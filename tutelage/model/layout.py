"""What published families call the tensors of the one transformer, and how they cut them up."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

from tutelage.model.sizes import ModelConfig

# The names of our modules -> the names of theirs that make it up, one above the other; `*` is a layer.
Modules = Mapping[str, tuple[str, ...]]


def _in_layers(prefix: str, modules: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Names within a layer as whole names; several of theirs are parted by spaces."""
    return {
        f"blocks.*.{ours}": tuple(f"{prefix}.*.{name}" for name in theirs.split()) for ours, theirs in modules.items()
    }


_LLAMA_LAYER = {
    "attention_norm": "input_layernorm",
    "qkv": "self_attn.q_proj self_attn.k_proj self_attn.v_proj",
    "q_norm": "self_attn.q_norm",
    "k_norm": "self_attn.k_norm",
    "attention_out": "self_attn.o_proj",
    "mlp_norm": "post_attention_layernorm",
    "mlp_up": "mlp.gate_proj mlp.up_proj",
    "mlp_down": "mlp.down_proj",
}
_OUT_NORMS = {"attention_out_norm": "post_attention_layernorm", "mlp_out_norm": "post_feedforward_layernorm"}
_GEMMA_NORMS = {**_OUT_NORMS, "mlp_norm": "pre_feedforward_layernorm"}
_FUSED = {"qkv": "self_attn.qkv_proj", "mlp_up": "mlp.gate_up_proj"}
_GPT2_LAYER = {
    "attention_norm": "ln_1",
    "qkv": "attn.c_attn",
    "attention_out": "attn.c_proj",
    "mlp_norm": "ln_2",
    "mlp_up": "mlp.c_fc",
    "mlp_down": "mlp.c_proj",
}


def _like_llama(changed: Mapping[str, str]) -> Modules:
    ends = {"embedding": ("model.embed_tokens",), "final_norm": ("model.norm",), "head": ("lm_head",)}
    return ends | _in_layers("model.layers", {**_LLAMA_LAYER, **changed})


LLAMA, OLMO2, GEMMA, PHI3 = (_like_llama(changed) for changed in ({}, _OUT_NORMS, _GEMMA_NORMS, _FUSED))
GPT2: Modules = {
    "embedding": ("transformer.wte",),
    "position_embedding": ("transformer.wpe",),
    "final_norm": ("transformer.ln_f",),
    "head": ("lm_head",),
    **_in_layers("transformer.h", _GPT2_LAYER),
}
# A model that fits no family goes by our own names.
OWN: Modules = {
    **{name: (name,) for name in ("embedding", "position_embedding", "final_norm", "head")},
    **_in_layers("blocks", {name: name for name in [*_LLAMA_LAYER, *_OUT_NORMS]}),
}

# What files hold beside the weights: tables that follow from the settings. A tied head is told apart by `is_harmless`.
_TABLES = re.compile(r"(.*\.)?(rotary_emb\.inv_freq|attn\.bias|attn\.masked_bias)")


def is_harmless(name: str, config: ModelConfig) -> bool:
    """Whether a tensor of a family's file can be left out: worked-out tables, and a head that is the embedding."""
    return _TABLES.fullmatch(name) is not None or (config.tied and name == "lm_head.weight")


def their_names(modules: Modules, name: str) -> list[str]:
    """What a family calls the parts of one of our tensors."""
    module, _, tensor = name.rpartition(".")
    layer = re.fullmatch(r"blocks\.(\d+)\.(\w+)", module)
    if layer is None:
        return [f"{one}.{tensor}" for one in modules[module]]
    return [f"{one.replace('*', layer[1])}.{tensor}" for one in modules[f"blocks.*.{layer[2]}"]]


def cut(modules: Modules, config: ModelConfig, name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    """One of our tensors as a family's file holds it: views of it by their names."""
    names = their_names(modules, name)
    if modules is GPT2 and name.startswith("blocks.") and tensor.ndim == 2:
        tensor = tensor.T  # its matrices are written the other way round
    if len(names) == 1:
        return {names[0]: tensor}
    return dict(zip(names, tensor.split(part_rows(config, len(tensor), len(names))), strict=True))


def part_rows(config: ModelConfig, rows: int, parts: int) -> list[int]:
    """How many of a matrix's `rows` each of its parts has: itself, queries, keys and values, or gate and up."""
    q, kv = config.heads * config.head_size, config.kv_heads * config.head_size
    return [rows] if parts == 1 else [q, kv, kv] if parts == 3 else [config.mlp_width] * parts
