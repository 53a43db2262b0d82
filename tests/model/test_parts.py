from __future__ import annotations

import pytest
import torch

from tutelage.model.parts import parts
from tutelage.model.sizes import ModelSettings, resolve
from tutelage.model.tensor_map import LLAMA, family_names, split_tensor
from tutelage.model.transformer import Transformer

GQA = resolve(ModelSettings(depth=2, width=32, heads=4, kv_heads=2, mlp_width=40, tied=False, bias=True), vocab=11)
UNGATED = resolve(ModelSettings(depth=1, width=32, heads=4, mlp="gelu", norm="layer", bias=True), vocab=11)


def test_fused_parameters_consist_of_named_rows() -> None:
    qkv = [("q", slice(0, 32)), ("k", slice(32, 48)), ("v", slice(48, 64))]
    assert list(parts(GQA, "blocks.1.qkv.weight")) == list(parts(GQA, "blocks.0.qkv.bias")) == qkv
    assert list(parts(GQA, "blocks.0.mlp_up.weight")) == [("gate", slice(0, 40)), ("up", slice(40, 80))]


@pytest.mark.parametrize("config", [GQA, UNGATED])
def test_parts_cover_every_row_once(config) -> None:  # type: ignore[no-untyped-def]
    for name, parameter in Transformer(config).named_parameters():
        rows = torch.cat([torch.arange(len(parameter))[part.rows] for part in parts(config, name)])
        assert torch.equal(rows, torch.arange(len(parameter)))


@pytest.mark.parametrize(
    "name",
    ["embedding.weight", "blocks.0.attention_out.weight", "blocks.0.qkv.lora_B.q_proj", "inner.blocks.0.qkv.weight"],
)
def test_any_other_parameter_is_one_part(name: str) -> None:
    assert parts(GQA, name) == ((name, slice(None)),)


def test_an_mlp_without_a_gate_is_one_part() -> None:
    assert len(parts(UNGATED, "blocks.0.mlp_up.weight")) == 1


def test_families_split_fused_parameters_into_these_parts() -> None:
    for name, parameter in Transformer(GQA).named_parameters():
        tensors = split_tensor(LLAMA, GQA, name, parameter)
        assert list(tensors) == family_names(LLAMA, name)
        for part, tensor in zip(parts(GQA, name), tensors.values(), strict=True):
            assert torch.equal(tensor, parameter[part.rows])
