"""Small models of random weights of every built-in family, as transformers makes them, and their logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

from tutelage.model.transformer import Transformer
from tutelage.tokenizer import TokenizerSettings, train

VOCAB = 61
TOKENIZER = train(["abcdefgh "], TokenizerSettings(kind="char"))
LENGTHS = [40, 3, 17, 33, 1]  # two share a padded group; windows of 6 are shorter than most
SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
GPT2 = {
    "vocab_size": VOCAB, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64, "bos_token_id": None,
    "eos_token_id": None,
}  # fmt: skip
GEMMA = {**SIZES, "head_dim": 12, "query_pre_attn_scalar": 20, "sliding_window": 6}
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip
YARN = {"rope_type": "yarn", "rope_theta": 300.0, "factor": 4.0, "original_max_position_embeddings": 16}
DIVISORS = [1.0, 1.3, 2.0]
MOE = {**SIZES, "num_experts": 6, "num_experts_per_tok": 2}
DEEPSEEK = {
    **SIZES, "num_key_value_heads": 4, "kv_lora_rank": 16, "q_lora_rank": 20, "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 12, "v_head_dim": 10, "moe_intermediate_size": 24, "n_routed_experts": 8,
    "num_experts_per_tok": 3, "first_k_dense_replace": 1,
}  # fmt: skip
QWEN3_MOE = {**MOE, "moe_intermediate_size": 24, "head_dim": 12}
# Each family, and what its settings may hold: the family's name, then what its config says.
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", SIZES),
    "llama3": ("llama", {**SIZES, "rope_scaling": LLAMA3, "tie_word_embeddings": True, "head_dim": 12}),
    "llama-linear-biases": (
        "llama",
        {**SIZES, "rope_scaling": {"type": "linear", "factor": 3.0}, "attention_bias": True, "mlp_bias": True},
    ),
    "mistral": ("mistral", {**SIZES, "sliding_window": 6}),
    "mistral-whole": ("mistral", {**SIZES, "sliding_window": None, "head_dim": 16}),
    "qwen2": ("qwen2", {**SIZES, "tie_word_embeddings": True}),
    "qwen2-window": ("qwen2", {**SIZES, "use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1}),
    "qwen2-yarn": ("qwen2", {**SIZES, "rope_scaling": YARN}),
    "qwen3": ("qwen3", {**SIZES, "head_dim": 12}),
    "qwen3-yarn": ("qwen3", {**SIZES, "head_dim": 16, "rope_scaling": {**YARN, "truncate": False}}),
    "smollm3": ("smollm3", {**SIZES, "no_rope_layer_interval": 2, "num_hidden_layers": 4}),
    "gpt2": ("gpt2", GPT2),
    "gpt2-untied": ("gpt2", {**GPT2, "tie_word_embeddings": False, "n_inner": 40, "activation_function": "gelu"}),
    "olmo2": ("olmo2", SIZES),
    "gemma2": ("gemma2", {**GEMMA, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}),
    "gemma2-uncapped": ("gemma2", {**GEMMA, "attn_logit_softcapping": None, "final_logit_softcapping": None}),
    "gemma3": ("gemma3_text", {**GEMMA, "sliding_window_pattern": 2}),
    "gemma3-linear": (
        "gemma3_text",
        {**GEMMA, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
         "rope_scaling": {"rope_type": "linear", "factor": 8.0}, "tie_word_embeddings": False},
    ),
    "mixtral": ("mixtral", {**SIZES, "num_local_experts": 4}),
    "mixtral-window": ("mixtral", {**SIZES, "num_local_experts": 4, "num_experts_per_tok": 1, "sliding_window": 6}),
    "olmoe": ("olmoe", MOE),
    "olmoe-normalised": ("olmoe", {**MOE, "norm_topk_prob": True, "tie_word_embeddings": True}),
    "qwen3_moe": ("qwen3_moe", {**QWEN3_MOE, "mlp_only_layers": [1], "norm_topk_prob": True}),
    "qwen3_moe-step": (
        "qwen3_moe",
        {**QWEN3_MOE, "decoder_sparse_step": 2, "use_sliding_window": True, "sliding_window": 6},
    ),
    "deepseek_v2": (
        "deepseek_v2",
        {**DEEPSEEK, "q_lora_rank": None, "n_shared_experts": 2,
         "rope_scaling": {**YARN, "mscale": 0.707, "mscale_all_dim": 1.0}},
    ),
    "deepseek_v2-groups": (
        "deepseek_v2",
        {**DEEPSEEK, "topk_method": "group_limited_greedy", "n_group": 4, "topk_group": 2,
         "routed_scaling_factor": 3.0},
    ),
    "deepseek_v3": (
        "deepseek_v3",
        {**DEEPSEEK, "n_group": 4, "topk_group": 2, "rope_scaling": {**YARN, "mscale": 1.0, "mscale_all_dim": 1.0}},
    ),
    "deepseek_v3-whole": (
        "deepseek_v3",
        {**DEEPSEEK, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 0, "norm_topk_prob": False},
    ),
    "gpt_oss": (
        "gpt_oss",
        {**SIZES, "num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 8, "sliding_window": 6,
         "rope_parameters": {**YARN, "truncate": False}},
    ),
    "phi3": ("phi3", {**SIZES, "sliding_window": 6}),
    "phi3-longrope": (
        "phi3",
        {**SIZES, "max_position_embeddings": 128, "original_max_position_embeddings": 64,
         "partial_rotary_factor": 0.75,
         "rope_scaling": {"type": "longrope", "short_factor": DIVISORS, "long_factor": [2.0, 3.0, 5.0]}},
    ),
}  # fmt: skip
MIXTURES = ["mixtral", "olmoe", "deepseek_v2", "deepseek_v3", "gpt_oss"]


def make(folder: Path, kind: str) -> transformers.PreTrainedModel:
    """A model of random weights in a folder, and as transformers has it."""
    family, settings = KINDS[kind]
    torch.manual_seed(sum(map(ord, kind)))
    model = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model(family, **settings))
    with torch.no_grad():
        for parameter in model.parameters():  # gains and biases too, which would be ones and zeros
            parameter.add_(torch.randn(parameter.shape) * 0.2)
        for name, buffer in model.named_buffers():
            if name.endswith("e_score_correction_bias"):
                buffer.add_(torch.randn(buffer.shape) * 0.2)
    model.eval().save_pretrained(folder)
    TOKENIZER.save(folder)
    return model


def texts(lengths: list[int]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(VOCAB, (length,), generator=generator) for length in lengths]


@torch.no_grad()
def packed_logits(model: Transformer, rows: list[torch.Tensor]) -> list[torch.Tensor]:
    lengths = tuple(len(row) for row in rows)
    positions = torch.cat([torch.arange(length) for length in lengths])
    hidden = model.hidden(torch.cat(rows), positions, model.within_segments(lengths))
    return list(model.logits(hidden).split(lengths))


@torch.no_grad()
def padded_logits(model: transformers.PreTrainedModel, rows: list[torch.Tensor]) -> list[torch.Tensor]:
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    logits = model(input_ids=ids, attention_mask=mask).logits
    return [one[: len(row)] for one, row in zip(logits, rows, strict=True)]


def assert_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
