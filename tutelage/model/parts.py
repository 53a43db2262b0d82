"""The logical matrices of a stored parameter.

A block stores queries, keys and values as one matrix `qkv`, and gate and up of a gated MLP as one `mlp_up`, so that
each is one matrix product; and the matrices of all experts as one parameter [experts, outputs, inputs]. Import and
export of checkpoints, LoRA and Muon treat them as the separate matrices that they are.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import torch

from tutelage.model.sizes import ModelConfig, is_gated

_FUSED = "qkv|q|q_up|kv_down|kv_up|mlp_up|shared_up|experts.up|experts.down"


class Part(NamedTuple):
    """A logical matrix: its name, and its rows in the stored parameter as `as_rows` lays it out."""

    name: str
    rows: slice


def as_rows(tensor: torch.Tensor, name: str) -> torch.Tensor:
    """A parameter as rows, a view: those of all experts are below one another. Other parameters are unchanged."""
    if not re.fullmatch(r"(mtp_)?blocks\.\d+\.experts\.\w+\.(weight|bias)", name):
        return tensor
    return tensor.flatten(0, 1)


def is_matrix(name: str, parameter: torch.Tensor) -> bool:
    """Whether a parameter is one matrix or several, and not a vector, or vectors of several experts."""
    return parameter.ndim >= 2 and not name.endswith("bias")


def parts(config: ModelConfig, name: str) -> tuple[Part, ...]:
    """The parts of a parameter of `Transformer`, in row order; one part with all rows unless it is fused or holds
    several experts.

    Example, with 4 heads and 2 key-value heads of size 8: "blocks.0.qkv.weight" has q in rows 0 to 31, k in rows 32 to
    47, and v in rows 48 to 63. The parts of its bias are the same. With 2 experts of hidden size 8,
    "blocks.0.experts.up.weight" has 0.gate in rows 0 to 7, 0.up in 8 to 15, 1.gate in 16 to 23, 1.up in 24 to 31.
    """
    fused = re.fullmatch(rf"(?:mtp_)?blocks\.\d+\.({_FUSED})\.(weight|bias)", name)
    sizes = _sizes(config, fused[1]) if fused else {}
    if not sizes:
        return (Part(name, slice(None)),)
    found, start = [], 0
    for part, size in sizes.items():
        found.append(Part(part, slice(start, start + size)))
        start += size
    return tuple(found)


def _sizes(config: ModelConfig, module: str) -> dict[str, int]:
    """Rows of each part of a module; none where it is not fused."""
    if module == "qkv":
        queries, keys = config.heads * config.head_size, config.kv_heads * config.head_size
        return {"q": queries, "k": keys, "v": keys}
    latent, heads = config.latent, config.heads
    if latent is not None and module in ("q", "q_up", "kv_down", "kv_up"):
        return {
            "q": {"q_plain": heads * latent.plain, "q_rotated": heads * latent.rotated},
            "q_up": {"q_plain": heads * latent.plain, "q_rotated": heads * latent.rotated},
            "kv_down": {"latent": latent.rank, "k_rotated": latent.rotated},
            "kv_up": {"k": heads * latent.plain, "v": heads * latent.value},
        }[module]
    if module == "mlp_up":
        return _gated(config, config.mlp_width)
    experts = config.experts
    assert experts is not None, "only mixtures of experts have these modules"
    if module == "shared_up":
        return _gated(config, experts.shared * experts.width)
    each = {"": config.width} if module == "experts.down" else _gated(config, experts.width) or {"": experts.width}
    return {f"{expert}.{part}".strip("."): rows for expert in range(experts.count) for part, rows in each.items()}


def _gated(config: ModelConfig, width: int) -> dict[str, int]:
    return {"gate": width, "up": width} if is_gated(config) else {}
