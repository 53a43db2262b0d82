"""Families with mixtures of experts: published sizes, and gradients."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import torch
from family_models import make, texts

from tutelage.batching.packing import collate
from tutelage.cost import training as cost
from tutelage.cost.shapes import SHAPES, cache_bytes_per_token, parameters
from tutelage.model.families import read_config
from tutelage.model.hub import load_model
from tutelage.model.sizes import (
    active_parameter_count,
    flops_per_token,
    kv_bytes_per_token,
    parameter_count,
)
from tutelage.records import Example
from tutelage.train.losses import cross_entropy

PUBLISHED = {
    "mixtral-8x7b": {"model_type": "mixtral", "intermediate_size": 14336},
    "olmoe-1b-7b": {"model_type": "olmoe", "intermediate_size": 1024},
    "qwen3-30b-a3b": {"model_type": "qwen3_moe", "num_key_value_heads": 4, "intermediate_size": 6144},
    "qwen3-235b-a22b": {"model_type": "qwen3_moe", "intermediate_size": 12288, "moe_intermediate_size": 1536},
    "deepseek-v2-lite": {
        "model_type": "deepseek_v2", "intermediate_size": 10944, "moe_intermediate_size": 1408, "n_routed_experts": 64,
        "num_experts_per_tok": 6, "n_shared_experts": 2, "first_k_dense_replace": 1, "q_lora_rank": None,
    },
    "deepseek-v3": {
        "model_type": "deepseek_v3", "intermediate_size": 18432, "moe_intermediate_size": 2048, "n_routed_experts": 256,
        "num_experts_per_tok": 8, "n_shared_experts": 1,
    },
    "gpt-oss-20b": {"model_type": "gpt_oss", "num_local_experts": 32, "intermediate_size": 2880},
    "gpt-oss-120b": {"model_type": "gpt_oss", "intermediate_size": 2880},
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_mixtures_have_their_parameters_active_ones_and_cache(name: str) -> None:
    shape = SHAPES[name]
    heads = {"num_attention_heads": shape.heads, "num_key_value_heads": shape.kv_heads, "head_dim": shape.head_size}
    sizes = {"vocab_size": shape.vocab, "num_hidden_layers": shape.depth, "hidden_size": shape.width}
    config = read_config({**heads, **sizes, "max_position_embeddings": 4096, **PUBLISHED[name]}, name)
    expected = parameters(shape)
    assert (parameter_count(config), active_parameter_count(config)) == (expected.total, expected.active)
    assert kv_bytes_per_token(config, 2) == cache_bytes_per_token(shape)
    whole = msgspec.structs.replace(config, window=None, windowed=())
    assert flops_per_token(whole, 2048) == cost.flops_per_token(shape, 2048)


@pytest.mark.parametrize("kind", ["mixtral", "olmoe", "deepseek_v3", "gpt_oss"])
def test_gradients_of_mixtures_are_those_of_transformers(kind: str, tmp_path: Path) -> None:
    """Of experts, of the router and of the layer below all of them."""
    theirs, ours, rows = make(tmp_path, kind), load_model(tmp_path).model, texts([20, 9])
    cross_entropy(ours, collate([(Example(row.int().numpy()),) for row in rows]))[0]["loss"].backward()
    for row in rows:
        logits = theirs(input_ids=row[None]).logits[0]
        torch.nn.functional.cross_entropy(logits[:-1], row[1:], reduction="sum").backward()
    mlp, block = theirs.model.layers[1].mlp, ours.blocks[1]
    router = mlp.router if kind == "gpt_oss" else mlp.gate
    up, down = mlp.experts.gate_up_proj.grad, mlp.experts.down_proj.grad
    if kind == "gpt_oss":
        up, down = torch.cat([up[..., 0::2], up[..., 1::2]], dim=-1).transpose(1, 2), down.transpose(1, 2)
        torch.testing.assert_close(block.sinks.weight.grad, theirs.model.layers[1].self_attn.sinks.grad)
    for found, expected in (
        (block.experts.up.weight.grad, up),
        (block.experts.down.weight.grad, down),
        (block.router.weight.grad, router.weight.grad),
        (ours.embedding.weight.grad, theirs.model.embed_tokens.weight.grad),
    ):
        assert (found - expected).abs().max() < 1e-4 * expected.abs().max() + 1e-5
