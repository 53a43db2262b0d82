"""Weight-only 8-bit quantisation: each output row of a matrix has one scale, weights are integers from -127 to 127.

Shape suffixes: N tokens, I inputs, O outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import torch
from torch import nn

# The loop of one row uses one thread, and reads memory twice as fast as PyTorch's kernel does with one thread.
MOST_THREADS = 2


def quantize_rows(weight_OI: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Integers, int8 [O, I], and scales, float32 [O]: a row is its integers times its scale, rounded to nearest (absmax
    quantisation, Dettmers et al. 2022, arXiv 2208.07339, section 2.1). A row of zeros has scale 0."""
    wide_OI = weight_OI.float()
    scale_O = wide_OI.abs().amax(dim=1) / 127
    divisor_O1 = scale_O.where(scale_O > 0, 1)[:, None]
    return (wide_OI / divisor_O1).round().to(torch.int8), scale_O


class Int8Linear(nn.Module):
    """A linear layer on a CPU with 8-bit weights. A product of one row is limited by reading the weights: half of what
    bfloat16 reads. Products of more rows are limited by arithmetic: they take a copy of the same values in the
    original dtype, made by `make_wide` from weight and bias."""

    def __init__(
        self,
        weight_OI: torch.Tensor,
        bias_O: torch.Tensor | None,
        make_wide: Callable[[torch.Tensor, torch.Tensor | None], nn.Module],
    ) -> None:
        super().__init__()
        self.weight, self.scale = quantize_rows(weight_OI)
        self.bias = bias_O
        self.wide = make_wide((self.weight * self.scale[:, None]).to(weight_OI.dtype), bias_O)
        self._arrays = self.weight.numpy(), self.scale.numpy()

    def forward(self, x_NI: torch.Tensor) -> torch.Tensor:
        if len(x_NI) > 1:
            return self.wide(x_NI)
        if torch.get_num_threads() > MOST_THREADS:
            y_NO = torch._weight_int8pack_mm(x_NI.bfloat16(), self.weight, self.scale.bfloat16())
        else:
            y_NO = torch.empty(1, len(self.scale))
            _product(x_NI[0].float().numpy(), *self._arrays, y_NO[0].numpy())
        if self.bias is not None:
            y_NO = y_NO + self.bias
        return y_NO.to(x_NI.dtype)


# The sum may be taken in any order, so that several numbers are added at once.
@numba.njit(fastmath=True, cache=True)
def _product(x_I: Any, weight_OI: Any, scale_O: Any, y_O: Any) -> None:
    for o in range(len(scale_O)):
        total = np.float32(0)
        for i in range(len(x_I)):
            total += x_I[i] * np.float32(weight_OI[o, i])
        y_O[o] = total * scale_O[o]
