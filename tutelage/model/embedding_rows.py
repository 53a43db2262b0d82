"""Train the embedding and output rows of a few tokens; the rest of both matrices is frozen and has no gradient.

Shape suffixes: N positions, D width, V vocabulary, R trained rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn


class TrainedEmbeddingRows(nn.Module):
    """Trained rows that replace those of a few tokens in a frozen embedding and output matrix.

    ids_R:          int64, the tokens.
    row_of_token_V: int64, the row of each token; -1 where it has none.
    embedding:      float32 [R, D], input rows; output rows too if the model ties both matrices.
    head:           float32 [R, D], output rows if the output matrix is separate; None if it is tied.
    """

    ids_R: torch.Tensor
    row_of_token_V: torch.Tensor

    def __init__(
        self, ids: Sequence[int], vocab: int, embedding_RD: torch.Tensor, head_RD: torch.Tensor | None
    ) -> None:
        super().__init__()
        device = embedding_RD.device
        ids_R = torch.tensor(list(ids), dtype=torch.int64, device=device)
        row_of_token_V = torch.full((vocab,), -1, dtype=torch.int64, device=device)
        row_of_token_V[ids_R] = torch.arange(len(ids_R), device=device)
        self.register_buffer("ids_R", ids_R, persistent=False)
        self.register_buffer("row_of_token_V", row_of_token_V, persistent=False)
        self.embedding = nn.Parameter(embedding_RD)
        self.head = None if head_RD is None else nn.Parameter(head_RD)

    @property
    def head_rows(self) -> torch.Tensor:
        """The output rows, float32 [R, D]."""
        return self.embedding if self.head is None else self.head

    def embed(self, embedding: nn.Embedding, tokens_N: torch.Tensor) -> torch.Tensor:
        """Embed tokens; [N, D] in the dtype of `embedding`."""
        return self.replace_embeddings(tokens_N, embedding(tokens_N))

    def replace_embeddings(self, tokens: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """`x`, the embeddings [..., D] of `tokens` [...], with those of these tokens from their trained rows."""
        row_of_token = self.row_of_token_V[tokens]
        rows = F.embedding(row_of_token.clamp(min=0), self.embedding).to(x.dtype)
        return torch.where((row_of_token >= 0)[..., None], rows, x)

    def replace_logits(self, hidden_ND: torch.Tensor, logits_NV: torch.Tensor) -> torch.Tensor:
        """Overwrite the logits of these tokens, in place, with those from their trained rows; returns the logits."""
        scores_NR = hidden_ND @ self.head_rows.to(hidden_ND.dtype).T
        return logits_NV.index_copy_(1, self.ids_R, scores_NR.to(logits_NV.dtype))
