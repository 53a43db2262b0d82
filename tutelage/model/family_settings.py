"""What the keys of a family's config.json say of a model, as the fields of ModelConfig that differ from Llama's. One
function per family; `families` has the table of them.

Raises:
    ValueError: a key has a value that is not supported.
"""

from __future__ import annotations

from typing import Any

from tutelage.model.hub_config import HubConfig, experts_settings, yarn_score_scale


def llama(c: HubConfig) -> dict[str, Any]:
    """Llama: biases."""
    biases = [*(["qkv", "attention_out"] if c.attention_bias else []), *(["mlp"] if c.mlp_bias else [])]
    return {"biases": biases}


def mistral(c: HubConfig) -> dict[str, Any]:
    """Mistral and Phi-3: a window in every layer."""
    layers = range(c.num_hidden_layers) if c.sliding_window else ()
    return {"window": c.sliding_window, "windowed": list(layers)}


def qwen2(c: HubConfig) -> dict[str, Any]:
    """Qwen2: biases of queries, keys and values."""
    return {"biases": ["qkv"], **_qwen_window(c)}


def qwen3(c: HubConfig) -> dict[str, Any]:
    """Qwen3: norms of queries and keys."""
    return {**llama(c), "qk_norm": True, **_qwen_window(c)}


def _qwen_window(c: HubConfig) -> dict[str, Any]:
    """Layers from `max_window_layers` on have a sliding window, unless `layer_types` lists them."""
    layers = range(c.num_hidden_layers)
    kinds = c.layer_types or ["sliding_attention" if i >= c.max_window_layers else "full_attention" for i in layers]
    return _window_settings(c, kinds) if c.use_sliding_window else {}


def smollm3(c: HubConfig) -> dict[str, Any]:
    """SmolLM3: layers without positions."""
    layers = range(c.num_hidden_layers)
    uses_rope = c.no_rope_layers  # 1 where a layer has RoPE
    if uses_rope is None:
        uses_rope = [int((i + 1) % c.no_rope_layer_interval != 0) for i in layers]
    _check_count(c, "no_rope_layers", uses_rope)
    kinds = c.layer_types or ["full_attention" if uses_rope[i] else "sliding_attention" for i in layers]
    unrotated = [i for i in layers if not uses_rope[i]]
    return {**llama(c), "unrotated": unrotated, **(_window_settings(c, kinds) if c.use_sliding_window else {})}


def olmo2(c: HubConfig) -> dict[str, Any]:
    """OLMo 2: norms after attention and MLP."""
    return {**llama(c), "norm_place": "after", "qk_norm": True, "qk_norm_over": "projection"}


def mixtral(c: HubConfig) -> dict[str, Any]:
    """Mixtral: experts in every layer."""
    return {**mistral(c), "experts": experts_settings(c, c.intermediate_size)}


def olmoe(c: HubConfig) -> dict[str, Any]:
    """OLMoE: experts in every layer, norms over whole projections."""
    experts = {**experts_settings(c, c.intermediate_size), "normalised": c.norm_topk_prob}
    return {**llama(c), "qk_norm": True, "qk_norm_over": "projection", "experts": experts}


def qwen3_moe(c: HubConfig) -> dict[str, Any]:
    """Every `decoder_sparse_step`-th layer has experts, but those in `mlp_only_layers`."""
    plain = [i for i in range(c.num_hidden_layers) if (i + 1) % c.decoder_sparse_step or i in (c.mlp_only_layers or [])]
    settings = {**llama(c), "qk_norm": True}
    if c.use_sliding_window and c.sliding_window:
        settings |= {"window": c.sliding_window, "windowed": list(range(c.num_hidden_layers))}
    if len(plain) == c.num_hidden_layers:
        return settings
    experts = {**experts_settings(c, c.moe_intermediate_size), "normalised": c.norm_topk_prob, "dense_layers": plain}
    return {**settings, "experts": experts}


def _deepseek(c: HubConfig) -> dict[str, Any]:
    """What DeepSeek-V2 and V3 share."""
    for name in ("kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"):
        if getattr(c, name) is None:
            raise ValueError(f"'{name}' is not set")
    assert c.qk_nope_head_dim is not None and c.qk_rope_head_dim is not None
    if c.attention_bias or c.mlp_bias or not c.rope_interleave or c.moe_layer_freq != 1:
        raise ValueError("attention_bias, mlp_bias, rope_interleave = false or moe_layer_freq is not supported")
    size = c.qk_nope_head_dim + c.qk_rope_head_dim
    latent = {
        "rank": c.kv_lora_rank,
        "query_rank": c.q_lora_rank,
        "plain": c.qk_nope_head_dim,
        "rotated": c.qk_rope_head_dim,
        "value": c.v_head_dim,
    }
    shared = {"head_size": size, "latent": latent, "attention_scale": size**-0.5 * yarn_score_scale(c)}
    dense = list(range(min(c.first_k_dense_replace, c.num_hidden_layers)))
    if not c.num_local_experts or len(dense) == c.num_hidden_layers:
        return shared
    experts = {
        **experts_settings(c, c.moe_intermediate_size),
        "shared": c.n_shared_experts or 0,
        "scaling": c.routed_scaling_factor,
        "dense_layers": dense,
    }
    return {**shared, "experts": experts}


def deepseek_v2(c: HubConfig) -> dict[str, Any]:
    """DeepSeek-V2 and its Lite: softmax over experts, the best groups by their best expert."""
    if c.topk_method not in ("greedy", "group_limited_greedy") or c.norm_topk_prob or c.scoring_func == "sigmoid":
        raise ValueError("its router has a topk_method, norm_topk_prob or scoring_func that is not supported")
    settings = _deepseek(c)
    if "experts" in settings:
        settings["experts"]["normalised"] = False
        if c.topk_method == "group_limited_greedy":
            groups = {"groups": c.n_group, "used_groups": c.topk_group, "group_score": "best"}
            settings["experts"] |= groups
    return settings


def deepseek_v3(c: HubConfig) -> dict[str, Any]:
    """DeepSeek-V3: sigmoid scores with a selection bias."""
    if c.topk_method not in (None, "noaux_tc") or c.scoring_func not in (None, "sigmoid"):
        raise ValueError("its router has a topk_method or scoring_func that is not supported")
    settings = _deepseek(c)
    if "experts" in settings:
        settings["experts"] |= {
            "scores": "sigmoid",
            "normalised": c.norm_topk_prob,
            "groups": c.n_group,
            "used_groups": c.topk_group,
            "selection_bias": True,
        }
    return settings


def gpt_oss(c: HubConfig) -> dict[str, Any]:
    """gpt-oss: sinks, biases, every other layer with a window."""
    if (c.swiglu_alpha, c.swiglu_limit) != (1.702, 7.0):
        raise ValueError("a swiglu_alpha other than 1.702 or a swiglu_limit other than 7 is not supported")
    layers = range(c.num_hidden_layers)
    kinds = c.layer_types or ["full_attention" if i % 2 else "sliding_attention" for i in layers]
    return {
        **_window_settings(c, kinds),
        "biases": ["qkv", "attention_out"] if c.attention_bias else [],
        "mlp": "swiglu_clamped",
        "sinks": True,
        "experts": {**experts_settings(c, c.intermediate_size), "bias": True},
    }


def gemma2(c: HubConfig) -> dict[str, Any]:
    """Gemma 2: caps of scores and logits."""
    kinds = c.layer_types or ["full_attention" if i % 2 else "sliding_attention" for i in range(c.num_hidden_layers)]
    return {**_gemma(c, kinds), "attention_softcap": c.attn_logit_softcapping}


def gemma3(c: HubConfig) -> dict[str, Any]:
    """Gemma 3: windowed layers with a RoPE base of their own."""
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
        **llama(c),
        **_window_settings(c, kinds),
        "norm": "rms_zero_centred",
        "norm_place": "both",
        "attention_scale": c.query_pre_attn_scalar**-0.5,
        "logit_softcap": c.final_logit_softcapping,
        "embedding_scale": c.hidden_size**0.5,
    }


def gpt2(c: HubConfig) -> dict[str, Any]:
    """GPT-2: learned positions, LayerNorm, biases."""
    return {
        "position": "learned",
        "norm": "layer",
        "bias": True,
        "mlp_width": c.intermediate_size or 4 * c.hidden_size,
        "attention_scale": None if c.scale_attn_weights else 1.0,
    }


def bert(c: HubConfig) -> dict[str, Any]:
    """BERT: reads in both directions, norms after the residual."""
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
