"""Published families as configurations of `Transformer`: conversion from and to their config.json. Each family is one
row of a table; what a row omits is as in Llama."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tutelage.config import SettingsError, convert
from tutelage.model.hub_config import HubConfig, experts_settings, rope_settings
from tutelage.model.settings import Llama3Scaling, YarnScaling
from tutelage.model.sizes import ModelConfig
from tutelage.model.tensor_map import BERT, GEMMA, GPT2, LLAMA, MIXTRAL, OLMO2, PHI3, QWEN_MOE, ModuleNames

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


def _llama(c: HubConfig) -> dict[str, Any]:
    biases = [*(["qkv", "attention_out"] if c.attention_bias else []), *(["mlp"] if c.mlp_bias else [])]
    return {"biases": biases}


def _mistral(c: HubConfig) -> dict[str, Any]:
    layers = range(c.num_hidden_layers) if c.sliding_window else ()
    return {"window": c.sliding_window, "windowed": list(layers)}


def _qwen2(c: HubConfig) -> dict[str, Any]:
    return {"biases": ["qkv"], **_qwen_window(c)}


def _qwen3(c: HubConfig) -> dict[str, Any]:
    return {**_llama(c), "qk_norm": True, **_qwen_window(c)}


def _qwen_window(c: HubConfig) -> dict[str, Any]:
    """Layers from `max_window_layers` on have a sliding window, unless `layer_types` lists them."""
    layers = range(c.num_hidden_layers)
    kinds = c.layer_types or ["sliding_attention" if i >= c.max_window_layers else "full_attention" for i in layers]
    return _window_settings(c, kinds) if c.use_sliding_window else {}


def _smollm3(c: HubConfig) -> dict[str, Any]:
    layers = range(c.num_hidden_layers)
    uses_rope = c.no_rope_layers  # 1 where a layer has RoPE
    if uses_rope is None:
        uses_rope = [int((i + 1) % c.no_rope_layer_interval != 0) for i in layers]
    _check_count(c, "no_rope_layers", uses_rope)
    kinds = c.layer_types or ["full_attention" if uses_rope[i] else "sliding_attention" for i in layers]
    unrotated = [i for i in layers if not uses_rope[i]]
    return {**_llama(c), "unrotated": unrotated, **(_window_settings(c, kinds) if c.use_sliding_window else {})}


def _olmo2(c: HubConfig) -> dict[str, Any]:
    return {**_llama(c), "norm_place": "after", "qk_norm": True, "qk_norm_over": "projection"}


def _mixtral(c: HubConfig) -> dict[str, Any]:
    return {**_mistral(c), "experts": experts_settings(c, c.intermediate_size)}


def _olmoe(c: HubConfig) -> dict[str, Any]:
    experts = {**experts_settings(c, c.intermediate_size), "normalised": c.norm_topk_prob}
    return {**_llama(c), "qk_norm": True, "qk_norm_over": "projection", "experts": experts}


def _qwen3_moe(c: HubConfig) -> dict[str, Any]:
    """Every `decoder_sparse_step`-th layer has experts, but those in `mlp_only_layers`."""
    plain = [i for i in range(c.num_hidden_layers) if (i + 1) % c.decoder_sparse_step or i in (c.mlp_only_layers or [])]
    settings = {**_llama(c), "qk_norm": True}
    if c.use_sliding_window and c.sliding_window:
        settings |= {"window": c.sliding_window, "windowed": list(range(c.num_hidden_layers))}
    if len(plain) == c.num_hidden_layers:
        return settings
    experts = {**experts_settings(c, c.moe_intermediate_size), "normalised": c.norm_topk_prob, "dense_layers": plain}
    return {**settings, "experts": experts}


def _gemma2(c: HubConfig) -> dict[str, Any]:
    kinds = c.layer_types or ["full_attention" if i % 2 else "sliding_attention" for i in range(c.num_hidden_layers)]
    return {**_gemma(c, kinds), "attention_softcap": c.attn_logit_softcapping}


def _gemma3(c: HubConfig) -> dict[str, Any]:
    layers = range(c.num_hidden_layers)
    period = c.sliding_window_pattern
    kinds = c.layer_types or ["sliding_attention" if (i + 1) % period else "full_attention" for i in layers]
    local = (c.rope_parameters or {}).get("sliding_attention") or {}
    if local.get("rope_type", "default") != "default":
        raise ValueError(f"its sliding-window layers have rope_type '{local['rope_type']}', which is not supported")
    theta = local.get("rope_theta", c.rope_local_base_freq)
    return {**_gemma(c, kinds), "qk_norm": True, "window_rope_theta": theta}


def _gemma(c: HubConfig, kinds: list[str]) -> dict[str, Any]:
    return {
        **_llama(c),
        **_window_settings(c, kinds),
        "norm": "rms_zero_centred",
        "norm_place": "both",
        "attention_scale": c.query_pre_attn_scalar**-0.5,
        "logit_softcap": c.final_logit_softcapping,
        "embedding_scale": c.hidden_size**0.5,
    }


def _gpt2(c: HubConfig) -> dict[str, Any]:
    return {
        "position": "learned",
        "norm": "layer",
        "bias": True,
        "mlp_width": c.intermediate_size or 4 * c.hidden_size,
        "attention_scale": None if c.scale_attn_weights else 1.0,
    }


def _bert(c: HubConfig) -> dict[str, Any]:
    if c.position_embedding_type != "absolute":
        raise ValueError(f"its positions are of type '{c.position_embedding_type}', which is not supported")
    if not c.tie_word_embeddings:
        raise ValueError("its output embedding is not tied to the input embedding, which is not supported")
    return {
        "position": "learned",
        "norm": "layer",
        "norm_place": "post",
        "bias": True,
        "causal": False,
        "token_types": c.type_vocab_size,
        "embedding_norm": True,
        "mlm_head": True,
    }


def _window_settings(c: HubConfig, kinds: list[str]) -> dict[str, Any]:
    _check_count(c, "layer_types", kinds)
    unknown = set(kinds) - {"sliding_attention", "full_attention"}
    if unknown:
        raise ValueError(f"it has layers of type '{min(unknown)}', which is not supported")
    windowed = [i for i, kind in enumerate(kinds) if kind == "sliding_attention"]
    return {"window": c.sliding_window, "windowed": windowed if c.sliding_window else []}


def _check_count(c: HubConfig, name: str, values: list[Any]) -> None:
    if len(values) != c.num_hidden_layers:
        raise ValueError(f"{name} lists {len(values)} layers, but num_hidden_layers is {c.num_hidden_layers}")


_TIED = {"tie_word_embeddings": True}
_GEMMA_DEFAULTS = {**_TIED, "hidden_act": "gelu_pytorch_tanh", "head_dim": 256, "sliding_window": 4096}
FAMILIES: dict[str, Family] = {
    "llama": Family("LlamaForCausalLM", LLAMA, _llama),
    "mistral": Family("MistralForCausalLM", LLAMA, _mistral, {"num_key_value_heads": 8, "sliding_window": 4096}),
    "qwen2": Family("Qwen2ForCausalLM", LLAMA, _qwen2, {"sliding_window": 4096}),
    "qwen3": Family("Qwen3ForCausalLM", LLAMA, _qwen3, {"sliding_window": 4096, "head_dim": 128}),
    "smollm3": Family("SmolLM3ForCausalLM", LLAMA, _smollm3, {**_TIED, "rope_theta": 2e6}),
    "olmo2": Family("Olmo2ForCausalLM", OLMO2, _olmo2, {"rms_norm_eps": 1e-5}),
    "mixtral": Family(
        "MixtralForCausalLM",
        MIXTRAL,
        _mixtral,
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
        _olmoe,
        {"rms_norm_eps": 1e-5, "num_local_experts": 64, "num_experts_per_tok": 8},
        {"num_experts": "num_local_experts"},
    ),
    "qwen3_moe": Family(
        "Qwen3MoeForCausalLM",
        QWEN_MOE,
        _qwen3_moe,
        {
            "num_key_value_heads": 4,
            "sliding_window": 4096,
            "moe_intermediate_size": 768,
            "num_local_experts": 128,
            "num_experts_per_tok": 8,
        },
        {"num_experts": "num_local_experts"},
    ),
    "gemma2": Family(
        "Gemma2ForCausalLM",
        GEMMA,
        _gemma2,
        {**_GEMMA_DEFAULTS, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
        {"hidden_activation": "hidden_act"},
    ),
    "gemma3_text": Family(
        "Gemma3ForCausalLM",
        GEMMA,
        _gemma3,
        {**_GEMMA_DEFAULTS, "rope_theta": 1e6},
        {"hidden_activation": "hidden_act", "_sliding_window_pattern": "sliding_window_pattern"},
    ),
    "phi3": Family("Phi3ForCausalLM", PHI3, _mistral, {"rms_norm_eps": 1e-5}),
    "gpt2": Family(
        "GPT2LMHeadModel",
        GPT2,
        _gpt2,
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
        _bert,
        {**_TIED, "hidden_act": "gelu", "rms_norm_eps": 1e-12},
        {"layer_norm_eps": "rms_norm_eps"},
    ),
}
_NO_SPECIAL_TOKENS = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
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
        plain = (_as_llama, _as_gpt2) if config.experts is None else (_as_mixtral, _as_olmoe, _as_qwen3_moe)
        tables = (as_family(config) | heads for as_family in plain)
        return next((table for table in tables if _describes(table, config)), None)
    old = read_config(loaded, "config.json")
    theirs = {ours: name for name, ours in FAMILIES[loaded["model_type"]].renamed.items()}
    table = dict(loaded)
    if config.vocab != old.vocab:
        table["vocab_size"] = config.vocab
    if config.context != old.context:
        table[theirs.get("max_position_embeddings", "max_position_embeddings")] = config.context
        if isinstance(old.rope_scaling, Llama3Scaling | YarnScaling):  # its default would be the new context
            key = "rope_scaling" if loaded.get("rope_scaling") else "rope_parameters"
            original = {"original_max_position_embeddings": old.rope_scaling.original_context}
            table[key] = {"factor": old.rope_scaling.factor, **original, **table[key]}
    if config.output_heads != old.output_heads:
        table["output_heads"] = config.output_heads
    if config.output_labels != old.output_labels:
        table["output_labels"] = config.output_labels
    assert _describes(table, config), "more than vocabulary, context and heads changed"
    return table


def _describes(table: Mapping[str, Any], config: ModelConfig) -> bool:
    try:
        return read_config(table, "config.json") == config
    except ValueError:
        return False


def _as_llama(c: ModelConfig) -> dict[str, Any]:
    kind = "qwen3" if c.qk_norm else "llama"
    return {
        "architectures": [FAMILIES[kind].architecture],
        "model_type": kind,
        "vocab_size": c.vocab,
        "hidden_size": c.width,
        "intermediate_size": c.mlp_width,
        "num_hidden_layers": c.depth,
        "num_attention_heads": c.heads,
        "num_key_value_heads": c.kv_heads,
        "head_dim": c.head_size,
        "max_position_embeddings": c.context,
        "rms_norm_eps": c.norm_eps,
        "rope_theta": c.rope_theta,
        "tie_word_embeddings": c.tied,
        **_NO_SPECIAL_TOKENS,
    }


def _as_mixtral(c: ModelConfig) -> dict[str, Any]:
    assert c.experts is not None
    return {**_as_experts(c, "mixtral"), "intermediate_size": c.experts.width}


def _as_olmoe(c: ModelConfig) -> dict[str, Any]:
    assert c.experts is not None
    return {
        **_as_experts(c, "olmoe"),
        "intermediate_size": c.experts.width,
        "norm_topk_prob": c.experts.normalised,
    }


def _as_qwen3_moe(c: ModelConfig) -> dict[str, Any]:
    assert c.experts is not None
    return {
        **_as_experts(c, "qwen3_moe"),
        "moe_intermediate_size": c.experts.width,
        "norm_topk_prob": c.experts.normalised,
        "decoder_sparse_step": 1,
        "mlp_only_layers": list(c.experts.dense_layers),
    }


def _as_experts(c: ModelConfig, kind: str) -> dict[str, Any]:
    assert c.experts is not None
    named = {"num_local_experts": c.experts.count, "num_experts_per_tok": c.experts.used}
    return {**_as_llama(c), "architectures": [FAMILIES[kind].architecture], "model_type": kind, **named}


def _as_gpt2(c: ModelConfig) -> dict[str, Any]:
    return {
        "architectures": [FAMILIES["gpt2"].architecture],
        "model_type": "gpt2",
        "vocab_size": c.vocab,
        "n_embd": c.width,
        "n_inner": c.mlp_width,
        "n_layer": c.depth,
        "n_head": c.heads,
        "n_positions": c.context,
        "activation_function": "gelu" if c.mlp == "gelu" else "gelu_new",
        "layer_norm_epsilon": c.norm_eps,
        "tie_word_embeddings": c.tied,
        **{f"{part}_pdrop": 0.0 for part in ("attn", "embd", "resid")},
        **_NO_SPECIAL_TOKENS,
    }
