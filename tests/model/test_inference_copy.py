from __future__ import annotations

import pytest
import torch
from torch import nn

from tutelage.model.inference_copy import PackedLinear, can_pack, int8_copy, pack, packed_copy
from tutelage.model.lora import LoraSettings, add_lora
from tutelage.model.moe import StackedLinear
from tutelage.model.quantization import Int8Experts, Int8Linear, quantize_rows
from tutelage.model.settings import Experts
from tutelage.model.sizes import ModelSettings, resolve
from tutelage.model.tensor_map import OWN
from tutelage.model.transformer import Transformer, initialise

VOCAB = 300


def make(dtype: torch.dtype = torch.float32, **changes: object) -> Transformer:
    settings = ModelSettings(depth=2, width=256, context=64, **changes)  # type: ignore[arg-type]
    return initialise(Transformer(resolve(settings, VOCAB)), seed=1).to(dtype)


def logits(model: Transformer, count: int = 9) -> torch.Tensor:
    tokens, positions = torch.arange(count) * 7, torch.arange(count)
    with torch.inference_mode():
        return model.logits(model.hidden(tokens, positions, model.within_segments((count,)))).float()


@pytest.mark.parametrize("rows", [1, 3, 40])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.25)])
def test_a_packed_product_is_the_plain_one(rows: int, dtype: torch.dtype, tolerance: float) -> None:
    weight, bias = torch.randn(512, 300).to(dtype), torch.randn(512).to(dtype)
    x = torch.randn(300, rows).to(dtype).T  # not contiguous
    layer = pack(weight, bias)
    assert isinstance(layer, PackedLinear)
    torch.testing.assert_close(layer(x), nn.functional.linear(x, weight, bias), atol=tolerance, rtol=1e-2)


@pytest.mark.parametrize("changes", [{}, {"bias": True, "norm": "layer", "mlp": "gelu"}, {"tied": False}], ids=str)
def test_a_packed_copy_computes_the_same_and_leaves_the_model_alone(changes: dict[str, object]) -> None:
    model = make(**changes)
    copy = packed_copy(model)
    assert isinstance(copy.blocks[1].mlp_down, PackedLinear)
    assert isinstance(copy.output, PackedLinear)
    assert copy.embedding is model.embedding
    assert model.output is None
    assert isinstance(model.blocks[1].mlp_down, nn.Linear)
    torch.testing.assert_close(logits(copy), logits(model), atol=1e-5, rtol=1e-5)


def test_float64_and_small_matrices_are_not_packed() -> None:
    assert not can_pack(torch.zeros(512, 512, dtype=torch.float64))
    assert not can_pack(torch.zeros(16, 16))
    model = make(torch.float64)
    torch.testing.assert_close(logits(packed_copy(model)), logits(model), atol=0, rtol=0)


def test_layers_with_adapters_stay_in_a_packed_copy() -> None:
    model = make()
    add_lora(model, OWN, LoraSettings(rank=2), [], seed=0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    torch.testing.assert_close(logits(packed_copy(model)), logits(model), atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="LoRA pairs; merge them first"):
        int8_copy(model)


def test_rows_are_rounded_to_the_nearest_of_255_levels() -> None:
    weight = torch.randn(40, 70)
    weight[3] = 0
    integers, scale = quantize_rows(weight)
    assert integers.abs().amax() == 127
    assert (integers[3] == 0).all()
    scale = scale.float()
    # A scale is rounded to bfloat16 before the row is, so that the largest value may be half a level further off.
    assert ((integers * scale[:, None] - weight).abs() <= scale[:, None] + 1e-7).all()
    inner = integers.abs() < 127
    assert ((integers * scale[:, None] - weight).abs() <= scale[:, None] / 2 + 1e-7)[inner].all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("inputs", [257, 264, 288])  # PyTorch's kernel crashes on the second
def test_few_rows_and_many_rows_multiply_the_same_8_bit_weights(inputs: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = ((300, inputs), (300,), (5, inputs))
    weight, bias, x = (torch.randn(shape, generator=generator).to(dtype) for shape in shapes)
    layer = Int8Linear(weight, bias, pack)
    exact = x.double() @ (layer.weight.double() * layer.scale.double()[:, None]).T + bias.double()
    tolerance = {torch.float32: 1e-3, torch.bfloat16: 0.3}[dtype]
    torch.testing.assert_close(layer(x).double(), exact, atol=tolerance, rtol=1e-2)
    for rows in (1, 2, 4):
        torch.testing.assert_close(layer(x[:rows]).double(), exact[:rows], atol=0.3, rtol=1e-2)


def test_s25_a_tied_table_is_looked_up_exactly_and_has_an_8_bit_output() -> None:
    model = make()
    copy = int8_copy(model)
    assert copy.embedding is model.embedding
    assert isinstance(copy.output, Int8Linear)
    full, reduced = logits(model), logits(copy)
    assert not torch.equal(full, reduced)
    kl = nn.functional.kl_div(reduced.log_softmax(-1), full.log_softmax(-1), log_target=True, reduction="none").sum(-1)
    assert kl.mean() < 0.01


@pytest.mark.parametrize("bias", [False, True])
def test_routed_experts_of_an_8_bit_copy_have_8_bits(bias: bool) -> None:
    experts = Experts(count=4, used=2, width=64, shared=1, bias=bias, dense_layers=(0,))
    model = make(experts=experts)
    copy = int8_copy(model)
    assert isinstance(copy.blocks[1].experts.up, Int8Experts)
    assert isinstance(model.blocks[1].experts.up, StackedLinear)
    full, reduced = logits(model), logits(copy)
    assert not torch.equal(full, reduced)
    kl = nn.functional.kl_div(reduced.log_softmax(-1), full.log_softmax(-1), log_target=True, reduction="none").sum(-1)
    assert kl.mean() < 0.01


def test_experts_multiply_few_rows_many_rows_and_none_by_the_same_8_bit_weights() -> None:
    weight, bias = torch.randn(3, 40, 64), torch.randn(3, 40)
    layer, counts = Int8Experts(weight, bias), torch.tensor([3, 0, 9])
    x = torch.randn(12, 64)
    dense = layer.weight.float() * layer.scale.float()[..., None]
    exact = torch.cat([x[:3] @ dense[0].T + bias[0], x[3:] @ dense[2].T + bias[2]])
    found = layer(x, counts)
    torch.testing.assert_close(found[:3], exact[:3], atol=0.2, rtol=1e-2)  # rounded to bfloat16
    torch.testing.assert_close(found[3:], exact[3:], atol=1e-4, rtol=1e-4)
    assert (dense - weight).abs().max() < weight.abs().max() / 127
