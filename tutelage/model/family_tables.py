"""A model that was trained here as the config.json of a family. One function per family; whether the model fits is
decided by reading the table back (see `families.write_config`)."""

from __future__ import annotations

from typing import Any

from tutelage.model.settings import YarnScaling
from tutelage.model.sizes import ModelConfig

_NO_SPECIAL_TOKENS = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}


def as_llama(c: ModelConfig) -> dict[str, Any]:
    """Llama, or Qwen3 with norms of queries and keys."""
    kind = "qwen3" if c.qk_norm else "llama"
    return {
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
        **({"rope_scaling": yarn_table(c)} if isinstance(c.rope_scaling, YarnScaling) else {}),
        "tie_word_embeddings": c.tied,
        **_NO_SPECIAL_TOKENS,
    }


def yarn_table(c: ModelConfig) -> dict[str, Any]:
    """The RoPE settings of a model with YaRN. With latent attention, scores have a factor of their own."""
    scaling = c.rope_scaling
    assert isinstance(scaling, YarnScaling)
    latent = {"mscale": 1.0, "mscale_all_dim": 1.0}
    return {
        "rope_type": "yarn",
        "rope_theta": c.rope_theta,
        "factor": scaling.factor,
        "original_max_position_embeddings": scaling.original_context,
        "beta_fast": scaling.beta_fast,
        "beta_slow": scaling.beta_slow,
        "truncate": scaling.truncate,
        **(latent if c.latent is not None else {"attention_factor": scaling.magnitude}),
    }


def as_mixtral(c: ModelConfig) -> dict[str, Any]:
    """Mixtral."""
    assert c.experts is not None
    return {**_as_experts(c, "mixtral"), "intermediate_size": c.experts.width}


def as_olmoe(c: ModelConfig) -> dict[str, Any]:
    """OLMoE."""
    assert c.experts is not None
    return {
        **_as_experts(c, "olmoe"),
        "intermediate_size": c.experts.width,
        "norm_topk_prob": c.experts.normalised,
    }


def as_qwen3_moe(c: ModelConfig) -> dict[str, Any]:
    """Qwen3-MoE."""
    assert c.experts is not None
    return {
        **_as_experts(c, "qwen3_moe"),
        "moe_intermediate_size": c.experts.width,
        "norm_topk_prob": c.experts.normalised,
        "decoder_sparse_step": 1,
        "mlp_only_layers": list(c.experts.dense_layers),
    }


def as_deepseek_v3(c: ModelConfig) -> dict[str, Any]:
    """DeepSeek-V3."""
    latent, experts = c.latent, c.experts
    assert latent is not None
    mixture: dict[str, Any] = {"first_k_dense_replace": c.depth}
    if experts is not None:
        mixture = {
            "n_routed_experts": experts.count,
            "num_experts_per_tok": experts.used,
            "moe_intermediate_size": experts.width,
            "n_shared_experts": experts.shared,
            "norm_topk_prob": experts.normalised,
            "routed_scaling_factor": experts.scaling,
            "n_group": experts.groups,
            "topk_group": experts.used_groups,
            "first_k_dense_replace": len(experts.dense_layers),
        }
    return {
        **as_llama(c),
        "model_type": "deepseek_v3",
        "head_dim": latent.rotated,
        "kv_lora_rank": latent.rank,
        "q_lora_rank": latent.query_rank,
        "qk_nope_head_dim": latent.plain,
        "qk_rope_head_dim": latent.rotated,
        "v_head_dim": latent.value,
        **mixture,
    }


def _as_experts(c: ModelConfig, kind: str) -> dict[str, Any]:
    assert c.experts is not None
    named = {"num_local_experts": c.experts.count, "num_experts_per_tok": c.experts.used}
    return {**as_llama(c), "model_type": kind, **named}


def as_gpt2(c: ModelConfig) -> dict[str, Any]:
    """GPT-2."""
    return {
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
