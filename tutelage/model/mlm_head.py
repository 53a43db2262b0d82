"""What BERT has between the last hidden states and the output embedding (Devlin et al. 2018, arXiv 1810.04805; in the
code, not in the paper).

Shape suffixes: N positions, D width, V vocabulary.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from tutelage.model.sizes import ModelConfig


class MlmHead(nn.Module):
    """A linear layer, GELU (exact or its tanh approximation, as in the blocks), LayerNorm, and a bias on each logit.

    The bias is a column of the output embedding and its input a column of ones, so that logits remain one product.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.width
        self.approximate = "tanh" if config.mlp == "gelu_tanh" else "none"
        self.dense = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=config.norm_eps)
        self.bias = nn.Parameter(torch.zeros(config.vocab))

    def forward(self, hidden_ND: torch.Tensor) -> torch.Tensor:
        """The input of the output embedding with its bias, [N, D + 1]."""
        y_ND = self.norm(F.gelu(self.dense(hidden_ND), approximate=self.approximate))
        return torch.cat([y_ND, y_ND.new_ones(len(y_ND), 1)], dim=1)

    def with_bias(self, weight_VD: torch.Tensor) -> torch.Tensor:
        """The output embedding with its bias, [V, D + 1]."""
        return torch.cat([weight_VD, self.bias[:, None].to(weight_VD.dtype)], dim=1)
