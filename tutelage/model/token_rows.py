"""Training some tokens' rows alone: the rest of the embedding and of the head is frozen, and gets no gradient at all.

Shape suffixes: N positions, D width, V vocabulary, R trained rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn


class TokenRows(nn.Module):
    """Rows of a few tokens that stand in the place of those which a frozen embedding and head have for them.

    ids_R:     int64, the tokens.
    embedding: float32 [R, D], what they are read as, and are predicted with where the head is the embedding.
    head:      float32 [R, D], what they are predicted with where the head is a matrix of its own; None elsewhere.
    """

    ids_R: torch.Tensor
    places_V: torch.Tensor

    def __init__(
        self, ids: Sequence[int], vocab: int, embedding_RD: torch.Tensor, head_RD: torch.Tensor | None
    ) -> None:
        super().__init__()
        device = embedding_RD.device
        ids_R = torch.tensor(list(ids), dtype=torch.int64, device=device)
        places_V = torch.full((vocab,), -1, dtype=torch.int64, device=device)
        places_V[ids_R] = torch.arange(len(ids_R), device=device)
        self.register_buffer("ids_R", ids_R, persistent=False)
        self.register_buffer("places_V", places_V, persistent=False)
        self.embedding = nn.Parameter(embedding_RD)
        self.head = None if head_RD is None else nn.Parameter(head_RD)

    @property
    def head_rows(self) -> torch.Tensor:
        return self.embedding if self.head is None else self.head

    def embed(self, embedding: nn.Embedding, tokens_N: torch.Tensor) -> torch.Tensor:
        """What the tokens are read as, [N, D] in the embedding's dtype."""
        x_ND = embedding(tokens_N)
        places_N = self.places_V[tokens_N]
        rows_ND = F.embedding(places_N.clamp(min=0), self.embedding).to(x_ND.dtype)
        return torch.where((places_N >= 0)[:, None], rows_ND, x_ND)

    def put_scores(self, hidden_ND: torch.Tensor, logits_NV: torch.Tensor) -> torch.Tensor:
        """The logits, with the columns of these tokens made from their rows; changed in place."""
        scores_NR = hidden_ND @ self.head_rows.to(hidden_ND.dtype).T
        return logits_NV.index_copy_(1, self.ids_R, scores_NR.to(logits_NV.dtype))
