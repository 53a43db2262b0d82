"""The keys of a published model's config.json that are used, and conversion of its RoPE settings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from tutelage.model.settings import LinearScaling, Llama3Scaling, LongScaling, RopeScaling, YarnScaling


class HubConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The keys of a family's config.json that are used, as named by transformers; `output_heads` and
    `output_labels` are ours."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    max_position_embeddings: int
    intermediate_size: int | None = None
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    hidden_act: str = "silu"
    rms_norm_eps: float = 1e-6
    tie_word_embeddings: bool = False
    attention_bias: bool = False
    mlp_bias: bool = False
    rope_theta: float = 10_000.0
    rope_local_base_freq: float = 10_000.0
    rope_scaling: dict[str, Any] | None = None
    rope_parameters: dict[str, Any] | None = None
    partial_rotary_factor: float = 1.0
    original_max_position_embeddings: int | None = None
    sliding_window: int | None = None
    use_sliding_window: bool = False
    sliding_window_pattern: int = 6
    max_window_layers: int = 28
    layer_types: list[str] | None = None
    no_rope_layers: list[int] | None = None
    no_rope_layer_interval: int = 4
    query_pre_attn_scalar: float = 256
    attn_logit_softcapping: float | None = None
    final_logit_softcapping: float | None = None
    scale_attn_weights: bool = True
    num_local_experts: int | None = None
    num_experts_per_tok: int | None = None
    moe_intermediate_size: int | None = None
    norm_topk_prob: bool = False
    decoder_sparse_step: int = 1
    mlp_only_layers: list[int] | None = None
    n_shared_experts: int | None = None
    routed_scaling_factor: float = 1.0
    n_group: int | None = None
    topk_group: int | None = None
    topk_method: str | None = None
    scoring_func: str | None = None
    first_k_dense_replace: int = 0
    moe_layer_freq: int = 1
    q_lora_rank: int | None = None
    kv_lora_rank: int | None = None
    qk_nope_head_dim: int | None = None
    qk_rope_head_dim: int | None = None
    v_head_dim: int | None = None
    rope_interleave: bool = True
    swiglu_alpha: float = 1.702
    swiglu_limit: float = 7.0
    type_vocab_size: int = 2
    position_embedding_type: str = "absolute"
    output_heads: dict[str, int] = {}
    output_labels: dict[str, tuple[str, ...]] = {}


def experts_settings(c: HubConfig, width: int | None) -> dict[str, Any]:
    """The fields of `Experts` that all families share; `width` is that of an expert."""
    if not (c.num_local_experts and c.num_experts_per_tok and width):
        raise ValueError("the number of experts, how many a token uses, or their size is not set")
    return {"count": c.num_local_experts, "used": c.num_experts_per_tok, "width": width}


def rope_settings(c: HubConfig, kind: str) -> dict[str, Any]:
    """The RoPE fields of ModelConfig. transformers 5 saves all as `rope_parameters`, older versions as two keys."""
    table = c.rope_scaling or c.rope_parameters or {}
    if kind == "gemma3_text":
        table = table.get("full_attention", table)
    if "full_attention" in table or "sliding_attention" in table:
        raise ValueError("its rope_parameters differ by layer, which is not supported")
    share = table.get("partial_rotary_factor", c.partial_rotary_factor)
    if share != 1 and kind != "phi3":
        raise ValueError("it rotates only a part of each head (partial_rotary_factor), which is not supported")
    settings = {"rope_theta": table.get("rope_theta") or c.rope_theta, "rotary_share": share}
    scaling = _rope_scaling(c, kind, table)
    if isinstance(scaling, LongScaling):
        # Longer texts use other divisors, and would need the cached keys of earlier tokens rotated again.
        settings["context"] = min(c.max_position_embeddings, _original_context(c, table))
    plain = None if scaling is None else msgspec.to_builtins(scaling)
    return {**settings, "rope_scaling": plain}


def _original_context(c: HubConfig, table: Mapping[str, Any]) -> int:
    """The key of the config (Phi-3) takes precedence over that of the RoPE table."""
    original = c.original_max_position_embeddings or table.get("original_max_position_embeddings")
    return int(original or c.max_position_embeddings)


def _rope_scaling(c: HubConfig, kind: str, table: Mapping[str, Any]) -> RopeScaling | None:
    name = table.get("rope_type") or table.get("type") or "default"
    if kind == "phi3" and name in ("su", "yarn"):  # former names of LongRoPE
        name = "longrope"
    original = _original_context(c, table)
    try:
        match name:
            case "default":
                return None
            case "linear":
                return LinearScaling(factor=float(table["factor"]))
            case "llama3":
                low, high = float(table["low_freq_factor"]), float(table["high_freq_factor"])
                return Llama3Scaling(
                    factor=float(table["factor"]),
                    low_frequency_factor=low,
                    high_frequency_factor=high,
                    original_context=original,
                )
            case "yarn":
                return _yarn(c, table, original)
            case "longrope":
                factor = float(table.get("factor") or c.max_position_embeddings / original)
                grown = math.sqrt(1 + math.log(factor) / math.log(original)) if factor > 1 else 1.0
                magnitude = table.get("attention_factor")
                divisors = tuple(float(number) for number in table["short_factor"])
                return LongScaling(divisors=divisors, magnitude=grown if magnitude is None else float(magnitude))
    except KeyError as error:
        raise ValueError(f"its rope of type '{name}' lacks {error.args[0]}") from None
    raise ValueError(f"its rope_type '{name}' is not supported; supported: linear, llama3, yarn, longrope")


def _yarn(c: HubConfig, table: Mapping[str, Any], original: int) -> YarnScaling:
    factor = float(table.get("factor") or c.max_position_embeddings / original)
    magnitude = table.get("attention_factor")
    if magnitude is None:
        above, below = table.get("mscale"), table.get("mscale_all_dim")
        magnitude = _yarn_growth(factor, 1)
        if above and below:
            magnitude = _yarn_growth(factor, above) / _yarn_growth(factor, below)
    return YarnScaling(
        factor=factor,
        original_context=original,
        magnitude=float(magnitude),
        beta_fast=float(table.get("beta_fast") or 32),
        beta_slow=float(table.get("beta_slow") or 1),
        truncate=bool(table.get("truncate", True)),
    )


def yarn_score_scale(c: HubConfig) -> float:
    """The square of DeepSeek's second factor, of scores; the first is that of rotated vectors."""
    table = c.rope_scaling or c.rope_parameters or {}
    scale, kind = table.get("mscale_all_dim"), table.get("rope_type") or table.get("type") or "default"
    return _yarn_growth(float(table["factor"]), float(scale)) ** 2 if scale and kind != "default" else 1.0


def _yarn_growth(factor: float, scale: float) -> float:
    return 1.0 if factor <= 1 else 0.1 * scale * math.log(factor) + 1.0
