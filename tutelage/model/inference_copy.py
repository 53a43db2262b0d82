"""Copies of a model for inference, whose matrices are stored in a form that multiplies faster on a CPU: packed, or with
8-bit weights. Embedding, gains of norms, rotary tables, and routed experts without 8 bits are the model's own; other
matrices of the blocks and the output embedding are copied. So a tied table has two forms: the look-up reads the model's
own rows, the output its copy.

Shape suffixes: N tokens, I inputs, O outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import torch
from torch import nn

from tutelage.model.block import RMSNorm
from tutelage.model.few_rows import FewRowsRMSNorm
from tutelage.model.lora import block_matrices
from tutelage.model.lora_linear import LoraLinear
from tutelage.model.moe import ExpertMLPs, StackedLinear
from tutelage.model.quantization import Int8Experts, Int8Linear
from tutelage.model.transformer import Transformer

# The layout is chosen for this many rows; it is the fastest one, or nearly, for 1 row and for 256 too.
PACKED_FOR = 16
# Smaller matrices stay in the processor's cache, and packing saves less than its calls cost.
SMALLEST_PACKED = 2**16

ModuleType = TypeVar("ModuleType", bound=nn.Module)


class PackedLinear(nn.Module):
    """A linear layer on a CPU with its weight in oneDNN's blocked layout. Against a plain one, a product of 1 row takes
    half the time in float32 and bfloat16, one of 16 rows 40% and 70%."""

    def __init__(self, weight_OI: torch.Tensor, bias_O: torch.Tensor | None) -> None:
        super().__init__()
        self.packed, self.bias = torch.ops.mkldnn._reorder_linear_weight(weight_OI.detach(), PACKED_FOR), bias_O

    def forward(self, x_NI: torch.Tensor) -> torch.Tensor:
        return torch.ops.mkldnn._linear_pointwise.default(x_NI, self.packed, self.bias, "none", [], "")


def can_pack(weight_OI: torch.Tensor) -> bool:
    """Whether oneDNN has a faster layout for a matrix."""
    if weight_OI.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    bfloat16 = weight_OI.dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return (bfloat16 or weight_OI.dtype == torch.float32) and weight_OI.numel() >= SMALLEST_PACKED


def compute_dtype(weight: torch.Tensor) -> torch.dtype:
    """The dtype of products with a weight, and of what is cached of them: under autocast its own."""
    device = weight.device.type
    narrow = weight.dtype == torch.float32 and torch.is_autocast_enabled(device)
    return torch.get_autocast_dtype(device) if narrow else weight.dtype


def pack(weight_OI: torch.Tensor, bias_O: torch.Tensor | None) -> nn.Module:
    """A layer with this weight, packed where that is faster; its weight is not copied elsewhere."""
    dtype = compute_dtype(weight_OI)
    weight_OI, bias_O = weight_OI.to(dtype), None if bias_O is None else bias_O.to(dtype)
    if can_pack(weight_OI):
        return PackedLinear(weight_OI, bias_O)
    linear = nn.Linear(weight_OI.shape[1], weight_OI.shape[0], bias=bias_O is not None, device="meta")
    linear.weight = nn.Parameter(weight_OI.detach(), requires_grad=False)
    if bias_O is not None:
        linear.bias = nn.Parameter(bias_O.detach(), requires_grad=False)
    return linear


def packed_copy(model: Transformer) -> Transformer:
    """The model with packed matrices."""
    return _copy_with(model, pack)


@torch.no_grad()
def int8_copy(model: Transformer) -> Transformer:
    """The model with 8-bit matrices, and packed ones of the same values for products of several rows.

    Raises:
        ValueError: the model is not on a CPU, or has adapters, which must be merged first.
    """
    if model.embedding.weight.device.type != "cpu":
        raise ValueError("8-bit weights run on CPUs only; leave int8 out, or move the model to the CPU")
    if any(not isinstance(getattr(block, name), nn.Linear) for block in model.blocks for name in block_matrices(block)):
        raise ValueError("8-bit weights need plain matrices, but the model has LoRA pairs; merge them first")
    copy = _copy_with(model, lambda weight, bias: Int8Linear(weight, bias, pack))
    for block in copy.blocks:
        if hasattr(block, "experts"):
            experts = _shallow_copy(cast(ExpertMLPs, block.experts))
            for name in ("up", "down"):
                stacked = cast(StackedLinear, getattr(experts, name))
                setattr(experts, name, Int8Experts(stacked.weight, stacked.bias))
            block.experts = experts
    return copy


@torch.no_grad()
def _copy_with(model: Transformer, make: Callable[[torch.Tensor, torch.Tensor | None], nn.Module]) -> Transformer:
    copy = _shallow_copy(model)
    copy.blocks = nn.ModuleList(_shallow_copy(block) for block in model.blocks)
    for block in copy.blocks:
        for name in block_matrices(block):
            linear = getattr(block, name)
            if isinstance(linear, nn.Linear):  # a layer with LoRA pairs stays as it is
                setattr(block, name, make(linear.weight, linear.bias))
            elif isinstance(linear, LoraLinear) and len(linear.magnitude):
                fixed = _shallow_copy(linear)
                fixed.fix_factors()
                setattr(block, name, fixed)
        _replace_norms(block)
    copy.output = make(model.head_weight, None)
    _replace_norms(copy)
    return copy


def _replace_norms(module: nn.Module) -> None:
    for name, child in module.named_children():
        if type(child) is RMSNorm and child.eps is not None:
            setattr(module, name, FewRowsRMSNorm(child.weight, child.eps))


def _shallow_copy(module: ModuleType) -> ModuleType:
    """The same parameters, buffers and submodules; each can be replaced without changing the module."""
    copy = module.__new__(type(module))
    copy.__dict__ = {key: dict(value) if isinstance(value, dict) else value for key, value in vars(module).items()}
    return copy
