"""A frozen linear layer with LoRA pairs beside its parts, and with the magnitudes of DoRA.

Shape suffixes: N tokens laid end to end, I inputs, O outputs, R rank.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from tutelage.model.four_bit import FourBitWeight
from tutelage.model.lora_dropout import LoraDropout


class LoraLinear(nn.Module):
    """A frozen linear layer with LoRA pairs beside its parts.

    sizes:     output size of each part by its name, in row order.
    lora_A:    float32 [R, I] by part; lora_B: float32 [O of the part, R]. A part without a pair is unchanged.
    magnitude: float32 [O of the part] by part, with DoRA (Liu et al. 2024, arXiv 2402.09353, eq. 5): the part acts as
               the rows of W + scale * B A, each divided by its norm and multiplied by its magnitude. The norm has no
               gradient (section 4.3 there).
    packed:    the frozen weight where it is in 4 bits, in place of `weight`.
    factors:   magnitude / norm of parts whose pairs no longer change, in copies for inference.
    """

    weight: torch.Tensor | None
    bias: torch.Tensor | None

    def __init__(self, base: nn.Linear, sizes: dict[str, int]) -> None:
        super().__init__()
        self.weight, self.bias, self.sizes, self.inputs = base.weight, base.bias, sizes, base.weight.shape[1]
        self.lora_A, self.lora_B, self.magnitude = nn.ParameterDict(), nn.ParameterDict(), nn.ParameterDict()
        self.packed: FourBitWeight | None = None
        self.scales: dict[str, float] = {}
        self.factors: dict[str, torch.Tensor] = {}
        self.dropout: tuple[LoraDropout, int] | None = None  # with the number of the layer

    def add_pair(self, part: str, a_RI: torch.Tensor, b_OR: torch.Tensor, scale: float) -> None:
        """Add a pair, to be trained, to a part."""
        self.lora_A[part], self.lora_B[part] = nn.Parameter(a_RI), nn.Parameter(b_OR)
        self.scales[part] = scale

    def add_magnitude(self, part: str, magnitude_O: torch.Tensor) -> None:
        """Add magnitudes, to be trained, to a part that has a pair."""
        self.magnitude[part] = nn.Parameter(magnitude_O)

    def quantise(self) -> None:
        """Keep the frozen weight in 4 bits."""
        self.packed, self.weight = FourBitWeight(self._dense()), None

    def forward(self, x_NI: torch.Tensor) -> torch.Tensor:
        # Magnitudes multiply the product, and not the bias.
        bias_O = None if len(self.magnitude) else self.bias
        y_NO = F.linear(x_NI, self._dense(), bias_O) if self.packed is None else self.packed.linear(x_NI, bias_O)
        if not torch.is_autocast_enabled(x_NI.device.type):
            x_NI = x_NI.to(torch.promote_types(x_NI.dtype, torch.float32))
        if self.dropout is not None:
            dropout, layer = self.dropout
            x_NI = dropout(x_NI, layer)
        split = y_NO.split(list(self.sizes.values()), dim=-1)
        adapted = [self._add_lora(part, x_NI, y_part) for part, y_part in zip(self.sizes, split, strict=True)]
        y_NO = adapted[0] if len(adapted) == 1 else torch.cat(adapted, dim=-1)
        return y_NO + self.bias.to(y_NO.dtype) if len(self.magnitude) and self.bias is not None else y_NO

    def _add_lora(self, part: str, x_NI: torch.Tensor, y_NO: torch.Tensor) -> torch.Tensor:
        if part not in self.scales:
            return y_NO
        inner_NR = F.linear(x_NI, self.lora_A[part]) * self.scales[part]
        sum_NO = y_NO + F.linear(inner_NR, self.lora_B[part])
        if part in self.magnitude:
            sum_NO = sum_NO * (self.factors[part] if part in self.factors else self._factor(part))
        return sum_NO.to(y_NO.dtype)

    def _factor(self, part: str) -> torch.Tensor:
        return self.magnitude[part] / self.row_norms(part)

    @torch.no_grad()
    def row_norms(self, part: str) -> torch.Tensor:
        """The norm of each row of W + scale * B A, without gradient, in float32 at least, [O of the part]."""
        with torch.autocast(self.lora_A[part].device.type, enabled=False):
            return torch.linalg.vector_norm(self._sum(part, self._rows(self._dense())[part]), dim=1)

    @torch.no_grad()
    def fix_factors(self) -> None:
        """Compute the factors of all parts once, for a copy whose weights do not change."""
        self.factors = {part: self._factor(part) for part in self.magnitude}

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """A plain linear layer with the same outputs. Sums are computed in float32 and replace the weight in place."""
        weight_OI = self._dense()
        for part, rows_OI in self._rows(weight_OI).items():
            if part in self.scales:
                factor_O1 = self._factor(part)[:, None] if part in self.magnitude else 1
                rows_OI.copy_(self._sum(part, rows_OI) * factor_O1)
        outputs, inputs = weight_OI.shape
        linear = nn.Linear(inputs, outputs, bias=self.bias is not None, device="meta")
        linear.weight = nn.Parameter(weight_OI.detach())
        if self.bias is not None:
            linear.bias = nn.Parameter(self.bias.detach())
        return linear

    def _dense(self) -> torch.Tensor:
        """The frozen weight, [O, I]."""
        if self.packed is not None:
            return self.packed.dense()
        assert self.weight is not None
        return self.weight

    def _rows(self, weight_OI: torch.Tensor) -> dict[str, torch.Tensor]:
        """The rows of each part."""
        return dict(zip(self.sizes, weight_OI.split(list(self.sizes.values())), strict=True))

    def _sum(self, part: str, rows_OI: torch.Tensor) -> torch.Tensor:
        """W + scale * B A of a part, [O of the part, I]."""
        delta_OI = self.lora_B[part] @ self.lora_A[part] * self.scales[part]
        return rows_OI.to(delta_OI.dtype) + delta_OI
