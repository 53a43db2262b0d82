"""Published families of models as settings of the one transformer: what their config.json says. Each is a row of one
table; where a row is silent, a family is as Llama."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tutelage.config import SettingsError, convert
from tutelage.model.hub_config import HubConfig, rope_settings
from tutelage.model.layout import GEMMA, GPT2, LLAMA, OLMO2, PHI3, Modules
from tutelage.model.sizes import Llama3Scaling, ModelConfig, YarnScaling

# What a model may be made of that this transformer has not, by the key that says so in config.json.
REFUSED = {
    "quantization_config": "its weights are quantised; use the checkpoint they were made from",
    "use_bidirectional_attention": "it looks at text in both directions; only models that read forwards can be trained",
    "add_cross_attention": "it attends to another model (add_cross_attention), which is not supported",
    "scale_attn_by_inverse_layer_idx": "its attention is scaled by layer, which is not supported",
}


@dataclass(frozen=True)
class Family:
    """One family.

    architecture: the class of `transformers` that holds it.
    modules:      what it calls our modules.
    settings:     what of its config.json becomes settings other than Llama's.
    defaults:     what its config.json means where it is silent.
    renamed:      its names for what other families call otherwise.
    """

    architecture: str
    modules: Modules
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
    """The layers from `max_window_layers` on, unless the layers are listed."""
    layers = range(c.num_hidden_layers)
    kinds = c.layer_types or ["sliding_attention" if i >= c.max_window_layers else "full_attention" for i in layers]
    return _window_of(c, kinds) if c.use_sliding_window else {}


def _smollm3(c: HubConfig) -> dict[str, Any]:
    layers = range(c.num_hidden_layers)
    turned = c.no_rope_layers
    if turned is None:
        turned = [int((i + 1) % c.no_rope_layer_interval != 0) for i in layers]
    _check_count(c, "no_rope_layers", turned)
    kinds = c.layer_types or ["full_attention" if turned[i] else "sliding_attention" for i in layers]
    unrotated = [i for i in layers if not turned[i]]
    return {**_llama(c), "unrotated": unrotated, **(_window_of(c, kinds) if c.use_sliding_window else {})}


def _olmo2(c: HubConfig) -> dict[str, Any]:
    return {**_llama(c), "norm_place": "after", "qk_norm": True, "qk_norm_over": "projection"}


def _gemma2(c: HubConfig) -> dict[str, Any]:
    kinds = c.layer_types or ["full_attention" if i % 2 else "sliding_attention" for i in range(c.num_hidden_layers)]
    return {**_gemma(c, kinds), "attention_softcap": c.attn_logit_softcapping}


def _gemma3(c: HubConfig) -> dict[str, Any]:
    layers = range(c.num_hidden_layers)
    every = c.sliding_window_pattern
    kinds = c.layer_types or ["sliding_attention" if (i + 1) % every else "full_attention" for i in layers]
    local = (c.rope_parameters or {}).get("sliding_attention") or {}
    if local.get("rope_type", "default") != "default":
        raise ValueError(f"its windowed layers have rope_type '{local['rope_type']}', which is not supported")
    theta = local.get("rope_theta", c.rope_local_base_freq)
    return {**_gemma(c, kinds), "qk_norm": True, "window_rope_theta": theta}


def _gemma(c: HubConfig, kinds: list[str]) -> dict[str, Any]:
    return {
        **_llama(c),
        **_window_of(c, kinds),
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


def _window_of(c: HubConfig, kinds: list[str]) -> dict[str, Any]:
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
_GEMMA_SAYS = {**_TIED, "hidden_act": "gelu_pytorch_tanh", "head_dim": 256, "sliding_window": 4096}
FAMILIES: dict[str, Family] = {
    "llama": Family("LlamaForCausalLM", LLAMA, _llama),
    "mistral": Family("MistralForCausalLM", LLAMA, _mistral, {"num_key_value_heads": 8, "sliding_window": 4096}),
    "qwen2": Family("Qwen2ForCausalLM", LLAMA, _qwen2, {"sliding_window": 4096}),
    "qwen3": Family("Qwen3ForCausalLM", LLAMA, _qwen3, {"sliding_window": 4096, "head_dim": 128}),
    "smollm3": Family("SmolLM3ForCausalLM", LLAMA, _smollm3, {**_TIED, "rope_theta": 2e6}),
    "olmo2": Family("Olmo2ForCausalLM", OLMO2, _olmo2, {"rms_norm_eps": 1e-5}),
    "gemma2": Family(
        "Gemma2ForCausalLM",
        GEMMA,
        _gemma2,
        {**_GEMMA_SAYS, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
        {"hidden_activation": "hidden_act"},
    ),
    "gemma3_text": Family(
        "Gemma3ForCausalLM",
        GEMMA,
        _gemma3,
        {**_GEMMA_SAYS, "rope_theta": 1e6},
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
}
_NO_TOKENS = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
_GATED = {"silu": "swiglu", "swish": "swiglu", "gelu_pytorch_tanh": "geglu_tanh", "gelu_new": "geglu_tanh"}
_UNGATED = {"gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh"}


def read_config(table: Mapping[str, Any], where: str) -> ModelConfig:
    """The settings that a family's config.json stands for. `where` names the file in errors.

    Raises:
        ValueError: the family is not known, a number is missing, or the model has what this transformer has not.
    """
    kind = table.get("model_type")
    if kind not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise ValueError(f"{where}: models of type '{kind}' are not supported; those that are: {known}")
    refused = [why for key, why in REFUSED.items() if table.get(key)]
    if refused:
        raise ValueError(f"{where}: {refused[0]}")
    family = FAMILIES[kind]
    said = {**family.defaults, **{family.renamed.get(key, key): value for key, value in table.items()}}
    fields = [f for f in msgspec.structs.fields(HubConfig) if f.name in said]
    # Where null means nothing of its own, it is silence.
    read = {f.name: said[f.name] for f in fields if said[f.name] is not None or f.default is None}
    c = convert(read, HubConfig, where)
    try:
        settings = {**_common(c, kind), **family.settings(c)}
        return convert(settings, ModelConfig, where)
    except SettingsError:
        raise
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _common(c: HubConfig, kind: str) -> dict[str, Any]:
    """What all families say alike; Llama's way where they may differ."""
    acts = _UNGATED if kind == "gpt2" else _GATED
    if c.hidden_act not in acts:
        raise ValueError(f"its activation '{c.hidden_act}' is not supported; those that are: {', '.join(acts)}")
    kv_heads = c.num_key_value_heads or c.num_attention_heads
    if min(c.vocab_size, c.hidden_size, c.num_hidden_layers, c.num_attention_heads, c.max_position_embeddings) < 1:
        raise ValueError("every size must be at least 1")
    if c.num_attention_heads % kv_heads:
        raise ValueError(f"num_attention_heads {c.num_attention_heads} is no multiple of {kv_heads} key-value heads")
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
    }
    return settings | ({"rope_theta": c.rope_theta} if kind == "gpt2" else rope_settings(c, kind))


def write_config(config: ModelConfig, kept: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The config.json of a model in a family's layout: the one it came with, brought up to date; for a model made here
    that of the first family it fits, None where it fits none."""
    if kept is None:
        tables = (_as_llama(config), _as_gpt2(config))
        return next((table for table in tables if _stands_for(table, config)), None)
    was = read_config(kept, "config.json")
    theirs = {ours: name for name, ours in FAMILIES[kept["model_type"]].renamed.items()}
    table = dict(kept)
    if config.vocab != was.vocab:
        table["vocab_size"] = config.vocab
    if config.context != was.context:
        table[theirs.get("max_position_embeddings", "max_position_embeddings")] = config.context
        if isinstance(was.rope_scaling, Llama3Scaling | YarnScaling):  # silence would mean the new context
            where = "rope_scaling" if kept.get("rope_scaling") else "rope_parameters"
            stretched = {"original_max_position_embeddings": was.rope_scaling.original_context}
            table[where] = {"factor": was.rope_scaling.factor, **stretched, **table[where]}
    assert _stands_for(table, config), "the settings changed in more than vocabulary and context"
    return table


def _stands_for(table: Mapping[str, Any], config: ModelConfig) -> bool:
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
        **_NO_TOKENS,
    }


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
        **_NO_TOKENS,
    }
