"""Accelerators: what their data sheets promise. Peaks are those of dense products; sheets also print twice as much, for
matrices that are half zeros."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """One accelerator: peak FLOP/s of dense bfloat16 products, bytes of memory, bytes/s to it, watts, and where this
    is printed."""

    name: str
    flops: float
    memory: float
    bandwidth: float
    watts: float
    source: str


PARTS: dict[str, Part] = {
    "a100": Part("A100 SXM 80 GB", 312e12, 80e9, 2.039e12, 400, "NVIDIA A100 data sheet, 2021"),
    "h100": Part("H100 SXM", 989.4e12, 80e9, 3.35e12, 700, "NVIDIA H100 data sheet, 2023"),
    "h100-pcie": Part("H100 PCIe", 756e12, 80e9, 2.0e12, 350, "NVIDIA H100 data sheet, 2023"),
    "h800": Part("H800 SXM", 989e12, 80e9, 3.35e12, 700, "as H100 SXM, with slower NVLink"),
    "h800-pcie": Part("H800 PCIe", 756e12, 80e9, 2.0e12, 350, "as H100 PCIe"),
    "h200": Part("H200 SXM", 989.4e12, 141e9, 4.8e12, 700, "NVIDIA H200 data sheet, 2024"),
}


def find_hardware(text: str) -> tuple[Part, int]:
    """An accelerator and how many of them, from "h100x64"; "h100" is one.

    Raises:
        ValueError: it is unknown, or the number is none.
    """
    match = re.fullmatch(r"([a-z0-9-]+?)(?:x(\d+))?", text.lower())
    if match is None or match[1] not in PARTS or match[2] == "0":
        raise ValueError(f"the hardware {text!r} is unknown; write one of {', '.join(PARTS)}, such as h100x64")
    return PARTS[match[1]], int(match[2] or 1)
