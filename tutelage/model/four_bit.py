"""Frozen matrices in 4 bits, by the library bitsandbytes: NF4 (QLoRA, Dettmers et al. 2023, arXiv 2305.14314,
section 3). 64 numbers share a float32 scale, so a weight takes 4.5 bits. CPUs are tested, GPUs are not.

Shape suffixes: N tokens, I inputs, O outputs.
"""

from __future__ import annotations

import logging

import torch

from tutelage import extras

# What a weight takes: half a byte, and a share of its scale.
BYTES_PER_WEIGHT = 0.5 + 4 / 64


class FourBitWeight:
    """A matrix [O, I] in NF4. It is rounded to bfloat16 first, so that a base loaded in float32 has the codes of one
    loaded in bfloat16. The dense matrix is made for each product, and not kept for the backward pass.

    Raises:
        ValueError: bitsandbytes is not installed.
    """

    def __init__(self, weight_OI: torch.Tensor) -> None:
        # It warns of a faster kernel that another package could download.
        logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
        library = extras.load("bitsandbytes", "bitsandbytes")
        self.multiply, self.dequantise = library.matmul_4bit, library.functional.dequantize_4bit
        rounded_OI = weight_OI.detach().bfloat16().float().contiguous()
        self.dtype = weight_OI.dtype
        self.packed, self.state = library.functional.quantize_4bit(rounded_OI, quant_type="nf4")

    def linear(self, x_NI: torch.Tensor, bias_O: torch.Tensor | None) -> torch.Tensor:
        """The product with every row of x, in the dtype of the base, or of autocast."""
        device = x_NI.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else self.dtype
        bias_O = None if bias_O is None else bias_O.to(dtype)
        return self.multiply(x_NI.to(dtype), self.packed, self.state, bias=bias_O)

    def dense(self) -> torch.Tensor:
        """The matrix, [O, I], in the dtype that it had."""
        return self.dequantise(self.packed, self.state).to(self.dtype)
