"""Other kernels for a model: compiled blocks, attention without padding, matrix products in float8.

All are off until they have been measured on a GPU: compiled blocks are tested on CPUs, the other two need a GPU.
`benchmarks/gpu.py` measures a step with and without each.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import cast

import torch
from torch import nn

from tutelage import extras
from tutelage.cost.layout import Layout
from tutelage.model.block import Block
from tutelage.model.lora import block_matrices
from tutelage.model.transformer import Transformer
from tutelage.train.layout import meshes
from tutelage.train.loop import Precision

# Products in float8 need both sizes of a matrix to be multiples of this.
FLOAT8_MULTIPLE = 16
# Ada and Hopper; the first with float8 units.
FLOAT8_CAPABILITY = (8, 9)
# The largest head of the kernel behind `varlen_attn`.
VARLEN_HEAD = 256


def compile_blocks(model: nn.Module) -> None:
    """Compile the blocks of a model with `torch.compile`, in place: norms, projections, rotations and MLPs, not
    attention. Passes without gradients stay as they are.

    Raises:
        ValueError: they cannot be compiled here.
    """
    transformer, layout = _built_in(model, "compile"), _layout()
    config = transformer.config
    for name, found in (("experts", config.experts), ("latent attention", config.latent)):
        if found is not None:
            raise ValueError(f"compile does not work with {name}; leave it out")
    if layout.tp > 1 or layout.cp > 1:
        raise ValueError("compile works with layout.dp alone, not with tp or cp; leave one of them out")
    check_compiler(next(model.parameters()).device.type)
    for block in transformer.blocks:
        cast(Block, block).compiled = True


@cache
def check_compiler(device: str) -> None:
    """Raises ValueError where torch.compile does not work on this machine."""
    try:
        torch.compile(lambda x: x.sin() + 1)(torch.zeros(8, device=device))
    except Exception as error:
        reason = str(error).strip().partition("\n")[0][:100]
        needed = "Triton" if device == "cuda" else "a C++ compiler (g++ or clang++)"
        raise ValueError(
            f"compile does not work on this machine ({type(error).__name__}: {reason}); it needs {needed}. Install it, "
            "or leave compile out"
        ) from error


def use_varlen_attention(model: nn.Module, precision: Precision) -> None:
    """Compute attention with `torch.nn.attention.varlen`, in place: one kernel for segments of any length, without the
    padding of `model.attention`.

    Raises:
        ValueError: the kernel is not here, or not for this model.
    """
    transformer = _built_in(model, "varlen_attention")
    _check_gpu(model, "varlen_attention", precision)
    if find_spec("torch.nn.attention.varlen") is None:
        raise ValueError(f"varlen_attention needs a later torch than {torch.__version__}; update it, or leave it out")
    config = transformer.config
    if config.attention_softcap is not None or config.sinks or config.latent is not None:
        found = "latent attention" if config.latent else "attention sinks" if config.sinks else "capped scores"
        raise ValueError(f"varlen_attention does not work with {found}; leave it out")
    if config.head_size > VARLEN_HEAD:
        raise ValueError(f"varlen_attention takes heads of at most {VARLEN_HEAD}, not {config.head_size}; leave it out")
    if _layout().cp > 1:
        raise ValueError("varlen_attention does not work with layout.cp, which has its own; leave one of them out")
    transformer.varlen_attention = True


def use_float8(model: nn.Module, precision: Precision) -> None:
    """Compute the matrix products of the blocks in float8 with torchao, in place: scales of whole tensors from each
    step's numbers (Micikevicius et al. 2022, arXiv 2209.05433). Weights, gradients and optimizer state stay in float32.

    Raises:
        ValueError: there is no GPU for it, no torchao, or it is not for this model.
    """
    transformer = _built_in(model, "float8")
    _check_gpu(model, "float8", precision)
    if (found := torch.cuda.get_device_capability()) < FLOAT8_CAPABILITY:
        wanted, has = (".".join(map(str, numbers)) for numbers in (FLOAT8_CAPABILITY, found))
        raise ValueError(f"float8 needs a GPU of compute capability {wanted} or later, and this one has {has}")
    if _layout().tp > 1:
        raise ValueError("float8 does not work with layout.tp; leave one of them out")
    convert_to_float8(transformer)


def convert_to_float8(model: Transformer, emulate: bool = False) -> list[str]:
    """Make the matrices of the blocks torchao's `Float8Linear`, in place, where their sizes allow; returns their names.
    `emulate` rounds to float8 and multiplies in float32: for tests without a GPU.

    Raises:
        ValueError: the model trains with LoRA, or no matrix has sizes that allow it.
    """
    float8 = extras.load("torchao.float8", "fp8")
    if any("lora_" in name for name, _ in model.named_parameters()):
        raise ValueError("float8 does not work with LoRA; leave one of them out")
    names = [
        f"blocks.{layer}.{name}"
        for layer, block in enumerate(model.blocks)
        for name in block_matrices(block)
        if all(size % FLOAT8_MULTIPLE == 0 for size in getattr(block, name).weight.shape)
    ]
    if not names:
        raise ValueError(
            f"float8 needs matrices whose sizes are multiples of {FLOAT8_MULTIPLE}, and the model has none"
        )
    # Padded, since a micro-batch may have any number of tokens.
    config = float8.Float8LinearConfig(pad_inner_dim=True, emulate=emulate)
    float8.convert_to_float8_training(model, module_filter_fn=lambda module, name: name in names, config=config)
    return names


def _layout() -> Layout:
    shared = meshes()
    return Layout() if shared is None else shared.layout


def _built_in(model: nn.Module, option: str) -> Transformer:
    if not isinstance(model, Transformer):
        raise ValueError(f"{option} works with the built-in architectures only, and the model is another; leave it out")
    return model


def _check_gpu(model: nn.Module, option: str, precision: Precision) -> None:
    if next(model.parameters()).device.type != "cuda":
        raise ValueError(f"{option} needs a CUDA GPU, and the model is on the CPU; leave it out")
    if precision != "bfloat16":
        raise ValueError(f'{option} needs precision = "bfloat16"; leave it out, or precision')
