"""The logical matrices of a stored parameter.

A block stores queries, keys and values as one matrix `qkv`, and gate and up of a gated MLP as one `mlp_up`, so that
each is one matrix product. Import and export of checkpoints, LoRA and Muon treat them as the separate matrices that
they are.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from tutelage.model.sizes import ModelConfig, is_gated


class Part(NamedTuple):
    """A logical matrix: its name, and its rows in the stored parameter."""

    name: str
    rows: slice


def parts(config: ModelConfig, name: str) -> tuple[Part, ...]:
    """The parts of a parameter of `Transformer`, in row order; one part with all rows unless it is fused.

    Example, with 4 heads and 2 key-value heads of size 8: "blocks.0.qkv.weight" has q in rows 0 to 31, k in rows 32 to
    47, and v in rows 48 to 63. The parts of its bias are the same.
    """
    fused = re.fullmatch(r"blocks\.\d+\.(qkv|mlp_up)\.(weight|bias)", name)
    if fused and fused[1] == "qkv":
        queries, keys = config.heads * config.head_size, config.kv_heads * config.head_size
        sizes = {"q": queries, "k": keys, "v": keys}
    elif fused and is_gated(config):
        sizes = {"gate": config.mlp_width, "up": config.mlp_width}
    else:
        return (Part(name, slice(None)),)
    found, start = [], 0
    for part, size in sizes.items():
        found.append(Part(part, slice(start, start + size)))
        start += size
    return tuple(found)
