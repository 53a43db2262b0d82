"""Multi-token prediction (DeepSeek-V3, arXiv 2412.19437, section 2.2): blocks after the last one predict tokens further
ahead, in training only. Block k reads, at each position, the hidden state of the block before it and the embedding of
the token k positions ahead, and predicts the token after that one. Embeddings are those of the model.

Where the paper leaves it open, this follows DeepSeek's files as engines read them: hidden states are taken after their
norm, and the embedding comes first in what is projected.

Shape suffixes: N tokens laid end to end, D width.
"""

from __future__ import annotations

import msgspec
import torch
from torch import nn

from tutelage.model.block import Attend, Block, make_norm
from tutelage.model.moe import Routing
from tutelage.model.sizes import ModelConfig


class MtpBlock(Block):
    """One step further ahead; `ahead` counts from 1."""

    def __init__(self, config: ModelConfig, ahead: int) -> None:
        deeper = msgspec.structs.replace(config, depth=config.depth + ahead, mtp=0)  # of the kind of the last layers
        super().__init__(deeper, config.depth + ahead - 1)
        self.embedding_in_norm, self.hidden_in_norm = make_norm(config), make_norm(config)
        self.combine = nn.Linear(2 * config.width, config.width, bias=False)
        self.out_norm = make_norm(config)

    def further(
        self, hidden_ND: torch.Tensor, embedded_ND: torch.Tensor, rotation: torch.Tensor | None, attend: Attend
    ) -> tuple[torch.Tensor, Routing | None]:
        """Hidden states after the norm of this block, from those of the block before and the embedding of the tokens
        ahead; and what its router decided."""
        inputs = torch.cat([self.embedding_in_norm(embedded_ND), self.hidden_in_norm(hidden_ND)], dim=1)
        x_ND, routing = self(self.combine(inputs), rotation, attend)
        return self.out_norm(x_ND), routing
