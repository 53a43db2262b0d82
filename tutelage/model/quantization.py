"""Weight-only 8-bit quantisation: each output row of a matrix has one scale, weights are integers from -127 to 127.

Shape suffixes: N tokens, I inputs, O outputs, E experts, R rows sorted by expert.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

# PyTorch's 8-bit kernel against its bfloat16 one, two threads, matrices of 576 x 1536 and 4096 x 4096: a third of the
# time for 1 row, half for 4 rows, more for 16. It reads inputs in whole vectors: with others it gives NaN or crashes.
MOST_ROWS, VECTOR = 4, 32


def quantize_rows(weight_OI: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Integers, int8 [O, I], and scales, bfloat16 [O]: a row is its integers times its scale, rounded to nearest
    (absmax quantisation, Dettmers et al. 2022, arXiv 2208.07339, section 2.1). A row of zeros has scale 0."""
    wide_OI = weight_OI.float()
    scale_O = (wide_OI.abs().amax(dim=1) / 127).bfloat16()
    divisor_O1 = scale_O.where(scale_O > 0, 1).float()[:, None]
    return (wide_OI / divisor_O1).round().clamp(-127, 127).to(torch.int8), scale_O


class Int8Linear(nn.Module):
    """A linear layer on a CPU with 8-bit weights. A product of few rows is limited by reading the weights: half of what
    bfloat16 reads. Products of more rows are limited by arithmetic: they take a copy of the same values in the
    original dtype, made by `make_wide` from weight and bias. Few rows are rounded to bfloat16 first."""

    def __init__(
        self,
        weight_OI: torch.Tensor,
        bias_O: torch.Tensor | None,
        make_wide: Callable[[torch.Tensor, torch.Tensor | None], nn.Module],
    ) -> None:
        super().__init__()
        self.weight, self.scale = quantize_rows(weight_OI)
        self.bias = bias_O
        self.wide = make_wide((self.weight * self.scale.float()[:, None]).to(weight_OI.dtype), bias_O)

    def forward(self, x_NI: torch.Tensor) -> torch.Tensor:
        if len(x_NI) > MOST_ROWS or x_NI.shape[1] % VECTOR:
            return self.wide(x_NI)
        y_NO = torch._weight_int8pack_mm(x_NI.bfloat16(), self.weight, self.scale)
        if self.bias is not None:
            y_NO = y_NO + self.bias
        return y_NO.to(x_NI.dtype)


class Int8Experts(nn.Module):
    """The matrices of all experts in 8 bits, in place of a `StackedLinear`. Few rows are multiplied as in `Int8Linear`.
    For more, the matrix of their expert is widened each time: a copy of all would take the memory that 8 bits save."""

    def __init__(self, weight_EOI: torch.Tensor, bias_EO: torch.Tensor | None) -> None:
        super().__init__()
        weight_RI, scale_R = quantize_rows(weight_EOI.flatten(0, 1))
        self.weight, self.scale = weight_RI.view(weight_EOI.shape), scale_R.view(weight_EOI.shape[:2])
        self.bias = bias_EO

    def forward(self, x_RI: torch.Tensor, counts_E: torch.Tensor) -> torch.Tensor:
        pieces = x_RI.split(counts_E.tolist())
        y_RO = torch.cat([self._product(expert, rows) for expert, rows in enumerate(pieces) if len(rows)])
        if self.bias is None:
            return y_RO
        return y_RO + self.bias.repeat_interleave(counts_E, dim=0, output_size=len(x_RI)).to(y_RO.dtype)

    def _product(self, expert: int, x_NI: torch.Tensor) -> torch.Tensor:
        weight_OI, scale_O = self.weight[expert], self.scale[expert]
        if len(x_NI) > MOST_ROWS or x_NI.shape[1] % VECTOR:
            return F.linear(x_NI, (weight_OI * scale_O.float()[:, None]).to(x_NI.dtype))
        return torch._weight_int8pack_mm(x_NI.bfloat16().contiguous(), weight_OI, scale_O).to(x_NI.dtype)
