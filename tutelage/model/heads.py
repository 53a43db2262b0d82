"""From hidden states to log-probabilities, without ever holding all logits at once.

Shape suffixes: N positions, D width, V vocabulary, C positions of one chunk.
"""

from __future__ import annotations

import torch

# Chunks of this many logits stay in the processor's cache (4 MB in float32). A vocabulary of 128K over 8K positions
# would be 4 GB of logits at once; and even 33 MB of them cost more in fresh memory pages than in arithmetic.
CHUNK_NUMBERS = 1 << 20


def label_logprobs(hidden_ND: torch.Tensor, weight_VD: torch.Tensor, labels_N: torch.Tensor) -> torch.Tensor:
    """Log-probability of each label under softmax(hidden @ weight.T), float32 [N] (float64 where the inputs are).

    Few logits are computed at once and kept for the backward pass; many are computed in chunks and again in backward,
    so that peak memory is one chunk (Wijmans et al. 2024, "Cut your losses", arXiv 2411.09009, at chunk granularity).
    """
    if hidden_ND.shape[0] * weight_VD.shape[0] <= CHUNK_NUMBERS:
        return _pick(_widened(hidden_ND @ weight_VD.T).log_softmax(dim=-1), labels_N)
    return _ChunkedLogprobs.apply(hidden_ND, weight_VD, labels_N)


def _widened(logits_CV: torch.Tensor) -> torch.Tensor:
    """In float32 at least: sums over a vocabulary need its digits."""
    return logits_CV.to(torch.promote_types(logits_CV.dtype, torch.float32))


def _pick(scores_CV: torch.Tensor, labels_C: torch.Tensor) -> torch.Tensor:
    return scores_CV.gather(1, labels_C[:, None])[:, 0]


def _chunks(positions: int, vocab: int) -> list[slice]:
    step = max(1, CHUNK_NUMBERS // vocab)
    return [slice(start, start + step) for start in range(0, positions, step)]


class _ChunkedLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden_ND, weight_VD, labels_N):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(hidden_ND, weight_VD, labels_N)
        chunks = _chunks(len(labels_N), len(weight_VD))
        return torch.cat([_pick(_widened(hidden_ND[c] @ weight_VD.T).log_softmax(dim=-1), labels_N[c]) for c in chunks])

    @staticmethod
    def backward(ctx, grad_N):  # type: ignore[no-untyped-def]
        hidden_ND, weight_VD, labels_N = ctx.saved_tensors
        grad_hidden_ND = torch.empty_like(hidden_ND)
        grad_weight_VD = torch.zeros_like(weight_VD, dtype=torch.promote_types(weight_VD.dtype, torch.float32))
        for c in _chunks(len(labels_N), len(weight_VD)):
            # d logprob / d logits = onehot(label) - probs
            grad_CV = _widened(hidden_ND[c] @ weight_VD.T).softmax(dim=-1).mul_(-grad_N[c, None])
            grad_CV.scatter_add_(1, labels_N[c, None], grad_N[c, None])
            grad_CV = grad_CV.to(hidden_ND.dtype)
            grad_hidden_ND[c] = grad_CV @ weight_VD
            if grad_CV.dtype == grad_weight_VD.dtype:
                grad_weight_VD.addmm_(grad_CV.T, hidden_ND[c])
            else:
                grad_weight_VD += grad_CV.T @ hidden_ND[c]
        return grad_hidden_ND, grad_weight_VD.to(weight_VD.dtype), None
