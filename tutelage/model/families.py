"""Published families as configurations of `Transformer`: conversion from and to their config.json. Each family is one
row of a table; what a row omits is as in Llama."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tutelage.config import SettingsError, convert
from tutelage.model.family_settings import (
    bert,
    deepseek_v2,
    deepseek_v3,
    gemma2,
    gemma3,
    gpt2,
    gpt_oss,
    llama,
    mistral,
    mixtral,
    olmo2,
    olmoe,
    qwen2,
    qwen3,
    qwen3_moe,
    smollm3,
)  # fmt: skip
from tutelage.model.family_tables import (
    as_deepseek_v3,
    as_gpt2,
    as_llama,
    as_mixtral,
    as_olmoe,
    as_qwen3_moe,
    yarn_table,
)  # fmt: skip
from tutelage.model.hub_config import HubConfig, rope_settings
from tutelage.model.settings import Llama3Scaling, YarnScaling
from tutelage.model.sizes import ModelConfig
from tutelage.model.tensor_map import (
    BERT,
    DEEPSEEK,
    GEMMA,
    GPT2,
    GPT_OSS,
    LLAMA,
    MIXTRAL,
    OLMO2,
    PHI3,
    QWEN_MOE,
    ModuleNames,
)

# Unsupported features, by the key that enables them in config.json.
UNSUPPORTED = {
    "quantization_config": "its weights are quantised; use the original checkpoint",
    "use_bidirectional_attention": "its attention is bidirectional; only causal models are supported",
    "is_decoder": "it is a BERT that reads from left to right (is_decoder), which is not supported",
    "add_cross_attention": "it has cross-attention (add_cross_attention), which is not supported",
    "clip_qkv": "its queries, keys and values are clipped (clip_qkv), which is not supported",
    "scale_attn_by_inverse_layer_idx": "its attention is scaled by layer, which is not supported",
}


@dataclass(frozen=True)
class Family:
    """One family.

    architecture: its class in transformers.
    modules:      its names for our modules.
    settings:     maps its config.json to the fields that differ from Llama's.
    defaults:     values of keys that its config.json omits.
    renamed:      maps its keys to the keys of other families.
    """

    architecture: str
    modules: ModuleNames
    settings: Callable[[HubConfig], dict[str, Any]]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)


_TIED = {"tie_word_embeddings": True}
_GEMMA_DEFAULTS = {**_TIED, "hidden_act": "gelu_pytorch_tanh", "head_dim": 256, "sliding_window": 4096}
_DEEPSEEK_DEFAULTS = {"kv_lora_rank": 512, "q_lora_rank": 1536, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
                      "v_head_dim": 128}  # fmt: skip
_DEEPSEEK_NAMES = {"n_routed_experts": "num_local_experts"}
_GPT_OSS_ROPE = {"rope_type": "yarn", "factor": 32.0, "beta_fast": 32.0, "beta_slow": 1.0, "truncate": False,
                 "original_max_position_embeddings": 4096}  # fmt: skip
FAMILIES: dict[str, Family] = {
    "llama": Family("LlamaForCausalLM", LLAMA, llama),
    "mistral": Family("MistralForCausalLM", LLAMA, mistral, {"num_key_value_heads": 8, "sliding_window": 4096}),
    "qwen2": Family("Qwen2ForCausalLM", LLAMA, qwen2, {"sliding_window": 4096}),
    "qwen3": Family("Qwen3ForCausalLM", LLAMA, qwen3, {"sliding_window": 4096, "head_dim": 128}),
    "smollm3": Family("SmolLM3ForCausalLM", LLAMA, smollm3, {**_TIED, "rope_theta": 2e6}),
    "olmo2": Family("Olmo2ForCausalLM", OLMO2, olmo2, {"rms_norm_eps": 1e-5}),
    "mixtral": Family(
        "MixtralForCausalLM",
        MIXTRAL,
        mixtral,
        {
            "num_key_value_heads": 8,
            "rms_norm_eps": 1e-5,
            "rope_theta": 1e6,
            "num_local_experts": 8,
            "num_experts_per_tok": 2,
        },
    ),
    "olmoe": Family(
        "OlmoeForCausalLM",
        QWEN_MOE,
        olmoe,
        {"rms_norm_eps": 1e-5, "num_local_experts": 64, "num_experts_per_tok": 8},
        {"num_experts": "num_local_experts"},
    ),
    "qwen3_moe": Family(
        "Qwen3MoeForCausalLM",
        QWEN_MOE,
        qwen3_moe,
        {
            "num_key_value_heads": 4,
            "sliding_window": 4096,
            "moe_intermediate_size": 768,
            "num_local_experts": 128,
            "num_experts_per_tok": 8,
        },
        {"num_experts": "num_local_experts"},
    ),
    "deepseek_v2": Family(
        "DeepseekV2ForCausalLM",
        DEEPSEEK,
        deepseek_v2,
        {**_DEEPSEEK_DEFAULTS, "topk_method": "greedy"},
        _DEEPSEEK_NAMES,
    ),
    "deepseek_v3": Family(
        "DeepseekV3ForCausalLM",
        DEEPSEEK,
        deepseek_v3,
        {
            **_DEEPSEEK_DEFAULTS,
            "norm_topk_prob": True,
            "n_group": 8,
            "topk_group": 4,
            "routed_scaling_factor": 2.5,
            "first_k_dense_replace": 3,
        },
        _DEEPSEEK_NAMES,
    ),
    "gpt_oss": Family(
        "GptOssForCausalLM",
        GPT_OSS,
        gpt_oss,
        {
            "rms_norm_eps": 1e-5,
            "rope_theta": 150_000.0,
            "sliding_window": 128,
            "head_dim": 64,
            "attention_bias": True,
            "num_local_experts": 128,
            "num_experts_per_tok": 4,
            "num_key_value_heads": 8,
            "rope_parameters": _GPT_OSS_ROPE,
        },
        {"num_experts": "num_local_experts"},
    ),
    "gemma2": Family(
        "Gemma2ForCausalLM",
        GEMMA,
        gemma2,
        {**_GEMMA_DEFAULTS, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
        {"hidden_activation": "hidden_act"},
    ),
    "gemma3_text": Family(
        "Gemma3ForCausalLM",
        GEMMA,
        gemma3,
        {**_GEMMA_DEFAULTS, "rope_theta": 1e6},
        {"hidden_activation": "hidden_act", "_sliding_window_pattern": "sliding_window_pattern"},
    ),
    "phi3": Family("Phi3ForCausalLM", PHI3, mistral, {"rms_norm_eps": 1e-5}),
    "gpt2": Family(
        "GPT2LMHeadModel",
        GPT2,
        gpt2,
        {**_TIED, "hidden_act": "gelu_new", "rms_norm_eps": 1e-5},
        {
            "n_embd": "hidden_size",
            "n_layer": "num_hidden_layers",
            "n_head": "num_attention_heads",
            "n_positions": "max_position_embeddings",
            "n_inner": "intermediate_size",
            "activation_function": "hidden_act",
            "layer_norm_epsilon": "rms_norm_eps",
        },
    ),
    "bert": Family(
        "BertForMaskedLM",
        BERT,
        bert,
        {**_TIED, "hidden_act": "gelu", "rms_norm_eps": 1e-12},
        {"layer_norm_eps": "rms_norm_eps"},
    ),
}
_GATED = {"silu": "swiglu", "swish": "swiglu", "gelu_pytorch_tanh": "geglu_tanh", "gelu_new": "geglu_tanh"}
_UNGATED = {"gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh"}


def read_config(table: Mapping[str, Any], where: str) -> ModelConfig:
    """The ModelConfig of a family's config.json. `where` names the file in errors.

    Raises:
        ValueError: the family is unknown, a key is missing, or the model uses an unsupported feature.
    """
    kind = table.get("model_type")
    if kind not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise ValueError(f"{where}: models of type '{kind}' are not supported; supported: {known}")
    problems = [problem for key, problem in UNSUPPORTED.items() if table.get(key)]
    if problems:
        raise ValueError(f"{where}: {problems[0]}")
    family = FAMILIES[kind]
    values = {**family.defaults, **{family.renamed.get(key, key): value for key, value in table.items()}}
    fields = [f for f in msgspec.structs.fields(HubConfig) if f.name in values]
    # A null is the same as a missing key, unless null is the default.
    known_values = {f.name: values[f.name] for f in fields if values[f.name] is not None or f.default is None}
    c = convert(known_values, HubConfig, where)
    try:
        settings = {**_common(c, kind), **family.settings(c)}
        return convert(settings, ModelConfig, where)
    except SettingsError:
        raise
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _common(c: HubConfig, kind: str) -> dict[str, Any]:
    """Fields that all families share, as in Llama where they may differ."""
    plain = kind in ("gpt2", "bert")  # without gates and rotary positions
    acts = _UNGATED if plain else _GATED
    if c.hidden_act not in acts:
        raise ValueError(f"its activation '{c.hidden_act}' is not supported; supported: {', '.join(acts)}")
    kv_heads = c.num_key_value_heads or c.num_attention_heads
    if min(c.vocab_size, c.hidden_size, c.num_hidden_layers, c.num_attention_heads, c.max_position_embeddings) < 1:
        raise ValueError("every size must be at least 1")
    if c.num_attention_heads % kv_heads:
        raise ValueError(f"num_attention_heads {c.num_attention_heads} is not a multiple of {kv_heads} key-value heads")
    if kind != "gpt2" and c.intermediate_size is None:
        raise ValueError("'intermediate_size' is not set")
    settings = {
        "vocab": c.vocab_size,
        "depth": c.num_hidden_layers,
        "context": c.max_position_embeddings,
        "width": c.hidden_size,
        "heads": c.num_attention_heads,
        "kv_heads": kv_heads,
        "head_size": c.head_dim or c.hidden_size // c.num_attention_heads,
        "mlp_width": c.intermediate_size,
        "position": "rotary",
        "norm": "rms",
        "norm_eps": c.rms_norm_eps,
        "mlp": acts[c.hidden_act],
        "bias": False,
        "qk_norm": False,
        "tied": c.tie_word_embeddings,
        "output_heads": c.output_heads,
        "output_labels": c.output_labels,
    }
    return settings | ({"rope_theta": c.rope_theta} if plain else rope_settings(c, kind))


def write_config(config: ModelConfig, loaded: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The config.json of a model in its family's layout: `loaded`, which it came with, updated. If that is None, the
    config.json of the first family that the model fits, or None if it fits none."""
    if loaded is None:
        heads: dict[str, Any] = {"output_heads": config.output_heads} if config.output_heads else {}
        heads |= {"output_labels": config.output_labels} if config.output_labels else {}
        families = (as_llama, as_gpt2) if config.experts is None else (as_mixtral, as_olmoe, as_qwen3_moe)
        for as_family in families if config.latent is None else (as_deepseek_v3,):
            table = as_family(config)
            table = {"architectures": [FAMILIES[table["model_type"]].architecture], **table, **heads}
            if _describes(table, config):
                return table
        return None
    old = read_config(loaded, "config.json")
    theirs = {ours: name for name, ours in FAMILIES[loaded["model_type"]].renamed.items()}
    table = dict(loaded)
    if config.vocab != old.vocab:
        table["vocab_size"] = config.vocab
    if config.context != old.context:
        table[theirs.get("max_position_embeddings", "max_position_embeddings")] = config.context
        kept = config.rope_scaling == old.rope_scaling
        if kept and isinstance(old.rope_scaling, Llama3Scaling | YarnScaling):  # its default would be the new context
            key = "rope_scaling" if loaded.get("rope_scaling") else "rope_parameters"
            original = {"original_max_position_embeddings": old.rope_scaling.original_context}
            table[key] = {"factor": old.rope_scaling.factor, **original, **table[key]}
    if config.rope_scaling != old.rope_scaling and isinstance(config.rope_scaling, YarnScaling):
        table["rope_parameters" if "rope_parameters" in loaded else "rope_scaling"] = yarn_table(config)
    if config.output_heads != old.output_heads:
        table["output_heads"] = config.output_heads
    if config.output_labels != old.output_labels:
        table["output_labels"] = config.output_labels
    assert _describes(table, config), "more than vocabulary, context, YaRN and heads changed"
    return table


def _describes(table: Mapping[str, Any], config: ModelConfig) -> bool:
    try:
        return read_config(table, "config.json") == config
    except ValueError:
        return False
