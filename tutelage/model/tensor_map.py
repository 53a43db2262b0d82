"""Tensor names of published families for the tensors of `Transformer`, and how they split fused matrices."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

import torch

from tutelage.model.latent import kv_down_rows, kv_rows, q_rows
from tutelage.model.parts import as_rows, parts
from tutelage.model.sizes import ModelConfig

# Maps our module to the family's modules that it consists of, stacked by rows; `*` is the number of a layer, `#` that
# of an expert; `=` ends the name of a parameter that is in no module.
ModuleNames = Mapping[str, tuple[str, ...]]


def _in_layers(prefix: str, names: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Adds the prefix of a layer to names within it; several names of the family are separated by spaces."""
    return {
        f"blocks.*.{ours}": tuple(f"{prefix}.*.{name}" for name in theirs.split()) for ours, theirs in names.items()
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
_QWEN_EXPERTS = {
    "router": "mlp.gate",
    "experts.up": "mlp.experts.#.gate_proj mlp.experts.#.up_proj",
    "experts.down": "mlp.experts.#.down_proj",
}
_MIXTRAL_EXPERTS = {
    "router": "block_sparse_moe.gate",
    "experts.up": "block_sparse_moe.experts.#.w1 block_sparse_moe.experts.#.w3",
    "experts.down": "block_sparse_moe.experts.#.w2",
}
_DEEPSEEK = {
    **_QWEN_EXPERTS,
    "q": "self_attn.q_proj",
    "q_down": "self_attn.q_a_proj",
    "q_down_norm": "self_attn.q_a_layernorm",
    "q_up": "self_attn.q_b_proj",
    "kv_down": "self_attn.kv_a_proj_with_mqa",
    "kv_down_norm": "self_attn.kv_a_layernorm",
    "kv_up": "self_attn.kv_b_proj",
    "shared_up": "mlp.shared_experts.gate_proj mlp.shared_experts.up_proj",
    "shared_down": "mlp.shared_experts.down_proj",
}
_GPT_OSS = {
    "router": "mlp.router",
    "experts.up": "mlp.experts.gate_up_proj=",
    "experts.down": "mlp.experts.down_proj=",
    "sinks": "self_attn.sinks=",
}
_BERT_LAYER = {
    "qkv": "attention.self.query attention.self.key attention.self.value",
    "attention_out": "attention.output.dense",
    "attention_out_norm": "attention.output.LayerNorm",
    "mlp_up": "intermediate.dense",
    "mlp_down": "output.dense",
    "mlp_out_norm": "output.LayerNorm",
}
_GPT2_LAYER = {
    "attention_norm": "ln_1",
    "qkv": "attn.c_attn",
    "attention_out": "attn.c_proj",
    "mlp_norm": "ln_2",
    "mlp_up": "mlp.c_fc",
    "mlp_down": "mlp.c_proj",
}


def _like_llama(changed: Mapping[str, str]) -> ModuleNames:
    """Llama's names, except those in `changed`."""
    ends = {"embedding": ("model.embed_tokens",), "final_norm": ("model.norm",), "head": ("lm_head",)}
    return ends | _in_layers("model.layers", {**_LLAMA_LAYER, **changed})


LLAMA, OLMO2, GEMMA, PHI3 = (_like_llama(changed) for changed in ({}, _OUT_NORMS, _GEMMA_NORMS, _FUSED))
QWEN_MOE, MIXTRAL = (_like_llama(changed) for changed in (_QWEN_EXPERTS, _MIXTRAL_EXPERTS))
GPT_OSS = _like_llama(_GPT_OSS)
DEEPSEEK = _like_llama(_DEEPSEEK)
GPT2: ModuleNames = {
    "embedding": ("transformer.wte",),
    "position_embedding": ("transformer.wpe",),
    "final_norm": ("transformer.ln_f",),
    "head": ("lm_head",),
    **_in_layers("transformer.h", _GPT2_LAYER),
}
BERT: ModuleNames = {
    "embedding": ("bert.embeddings.word_embeddings",),
    "position_embedding": ("bert.embeddings.position_embeddings",),
    "token_type_embedding": ("bert.embeddings.token_type_embeddings",),
    "embedding_norm": ("bert.embeddings.LayerNorm",),
    "mlm_head.dense": ("cls.predictions.transform.dense",),
    "mlm_head.norm": ("cls.predictions.transform.LayerNorm",),
    "mlm_head": ("cls.predictions",),
    "head": ("cls.predictions.decoder",),
    **_in_layers("bert.encoder.layer", _BERT_LAYER),
}
_ENDS = ("embedding", "position_embedding", "token_type_embedding", "embedding_norm", "final_norm", "head")
# A model that fits no family is saved under our own names.
OWN: ModuleNames = {
    **{name: (name,) for name in (*_ENDS, "mlm_head.dense", "mlm_head.norm", "mlm_head")},
    **_in_layers("blocks", {name: name for name in [*_LLAMA_LAYER, *_OUT_NORMS, *_DEEPSEEK]}),
}

# llama.cpp's names for all of its architectures that are like Llama.
GGUF: ModuleNames = {
    "embedding": ("token_embd",),
    "final_norm": ("output_norm",),
    "head": ("output",),
    **_in_layers(
        "blk",
        {
            "attention_norm": "attn_norm",
            "qkv": "attn_q attn_k attn_v",
            "q_norm": "attn_q_norm",
            "k_norm": "attn_k_norm",
            "attention_out": "attn_output",
            "attention_out_norm": "post_attention_norm",
            "mlp_norm": "ffn_norm",
            "mlp_up": "ffn_gate ffn_up",
            "mlp_down": "ffn_down",
            "mlp_out_norm": "post_ffw_norm",
        },
    ),
}

# Tensors beside the weights, which follow from the config. `is_redundant` handles a tied head.
_TABLES = re.compile(r"(.*\.)?(rotary_emb\.inv_freq|attn\.bias|attn\.masked_bias|embeddings\.position_ids)")
# What BERT's checkpoints have for next-sentence prediction, and second names of tied tensors.
_BERT_UNUSED = re.compile(r"bert\.pooler\..*|cls\.seq_relationship\..*|cls\.predictions\.decoder\.(weight|bias)")


def is_redundant(name: str, config: ModelConfig) -> bool:
    """Whether a tensor of a family's file can be ignored: computed tables, a head tied to the embedding, and BERT's
    layers for next-sentence prediction, which masked language models do not use."""
    if config.mlm_head and _BERT_UNUSED.fullmatch(name):
        return True
    return _TABLES.fullmatch(name) is not None or (config.tied and name == "lm_head.weight")


def modern_name(name: str) -> str:
    """A tensor's name in BERT's first checkpoints as in later ones."""
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


# The names of tensors that families have under others.
_TENSOR_NAMES = {"selection_bias": "e_score_correction_bias"}
SELECTION_BIASES = tuple(f".{name}" for pair in _TENSOR_NAMES.items() for name in pair)


def family_names(modules: ModuleNames, name: str) -> list[str]:
    """The family's names for the parts of one of our tensors; named heads have the same name in all."""
    module, _, tensor = name.rpartition(".")
    tensor = _TENSOR_NAMES.get(tensor, tensor)
    if module.startswith("heads."):
        return [name]
    layer = re.fullmatch(r"blocks\.(\d+)\.([\w.]+)", module)
    if layer is None:
        return [f"{theirs}.{tensor}" for theirs in modules[module]]
    names = [theirs.replace("*", layer[1]) for theirs in modules[f"blocks.*.{layer[2]}"]]
    bare = {"weight": "", "bias": "_bias"}  # gpt-oss has parameters without a module
    return [theirs[:-1] + bare[tensor] if theirs.endswith("=") else f"{theirs}.{tensor}" for theirs in names]


class FileTensor(NamedTuple):
    """A tensor of a family's file as a view of one of ours. Where the file has another order along the dimension `dim`,
    place i of the file is place `order[i]` of the view."""

    view: torch.Tensor
    order: torch.Tensor | None = None
    dim: int = 0

    def to_file(self) -> torch.Tensor:
        """The tensor as in the file; a view if the order is ours."""
        return self.view if self.order is None else self.view.index_select(self.dim, self.order.to(self.view.device))

    def fill(self, tensor: torch.Tensor) -> None:
        """Copy the file's tensor into ours."""
        if self.order is None:
            self.view.copy_(tensor)
        else:
            self.view.index_copy_(self.dim, self.order.to(self.view.device), tensor.to(self.view))


def split_tensor(modules: ModuleNames, config: ModelConfig, name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    """One of our tensors as in a family's file: its parts, by the family's names."""
    return {theirs: part.to_file() for theirs, part in file_tensors(modules, config, name, tensor).items()}


def file_tensors(modules: ModuleNames, config: ModelConfig, name: str, tensor: torch.Tensor) -> dict[str, FileTensor]:
    """The same, as views that can be filled."""
    names = family_names(modules, name)
    if modules is GPT2 and name.startswith("blocks.") and tensor.ndim == 2:
        tensor = tensor.T  # GPT-2 stores its matrices transposed
    if modules is GPT_OSS and ".experts." in name:
        return {names[0]: _gpt_oss_experts(name, tensor)}
    pieces = parts(config, name)
    if "#" in names[0]:
        assert config.experts is not None
        tensor = as_rows(tensor, name)
        names = [theirs.replace("#", str(number)) for number in range(config.experts.count) for theirs in names]
    if len(names) == 1:
        return {names[0]: FileTensor(tensor, _file_order(config, name))}
    return {theirs: FileTensor(tensor[part.rows]) for theirs, part in zip(names, pieces, strict=True)}


def _gpt_oss_experts(name: str, tensor: torch.Tensor) -> FileTensor:
    """Weights of experts are [experts, inputs, outputs] there, and gate and up take turns in outputs and biases."""
    if name.endswith("weight"):
        tensor = tensor.transpose(1, 2)
    order = torch.arange(tensor.shape[-1]).unflatten(0, (2, -1)).T.flatten() if ".up." in name else None
    return FileTensor(tensor, order, tensor.ndim - 1)


def _file_order(config: ModelConfig, name: str) -> torch.Tensor | None:
    """The order of rows in DeepSeek's files, which alone have latent attention."""
    module, latent = name.rpartition(".")[0].rpartition(".")[2], config.latent
    if latent is None or module not in ("q", "q_up", "kv_up", "kv_down"):
        return None
    if module == "kv_down":
        return kv_down_rows(latent)
    return (kv_rows if module == "kv_up" else q_rows)(config.heads, latent)
