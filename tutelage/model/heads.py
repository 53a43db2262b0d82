"""From hidden states to log-probabilities, without ever holding all logits at once.

Shape suffixes: N positions, D width, V vocabulary, C positions of one chunk.
"""

from __future__ import annotations

import torch

# A vocabulary of 128K over 8K positions would be 4 GB of logits; chunks of this many numbers stay near the cache.
CHUNK_NUMBERS = 1 << 24


def label_logprobs(hidden_ND: torch.Tensor, weight_VD: torch.Tensor, labels_N: torch.Tensor) -> torch.Tensor:
    """Log-probability of each label under softmax(hidden @ weight.T), float32 [N].

    Few logits are computed at once and kept for the backward pass; many are computed in chunks and again in backward,
    so that peak memory is one chunk (Wijmans et al. 2024, "Cut your losses", arXiv 2411.09009, at chunk granularity).
    """
    if hidden_ND.shape[0] * weight_VD.shape[0] <= CHUNK_NUMBERS:
        return _chunk_logprobs(hidden_ND @ weight_VD.T, labels_N)[0]
    return _ChunkedLogprobs.apply(hidden_ND, weight_VD, labels_N)


def _chunk_logprobs(logits_CV: torch.Tensor, labels_C: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    log_total_C = torch.logsumexp(logits_CV.float(), dim=-1)
    return logits_CV.gather(1, labels_C[:, None])[:, 0].float() - log_total_C, log_total_C


class _ChunkedLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden_ND, weight_VD, labels_N):  # type: ignore[no-untyped-def]
        step = max(1, CHUNK_NUMBERS // weight_VD.shape[0])
        logprobs_N = torch.empty(len(labels_N), dtype=torch.float32, device=hidden_ND.device)
        log_total_N = torch.empty_like(logprobs_N)
        for i in range(0, len(labels_N), step):
            part = slice(i, i + step)
            logprobs_N[part], log_total_N[part] = _chunk_logprobs(hidden_ND[part] @ weight_VD.T, labels_N[part])
        ctx.save_for_backward(hidden_ND, weight_VD, labels_N, log_total_N)
        return logprobs_N

    @staticmethod
    def backward(ctx, grad_N):  # type: ignore[no-untyped-def]
        hidden_ND, weight_VD, labels_N, log_total_N = ctx.saved_tensors
        step = max(1, CHUNK_NUMBERS // weight_VD.shape[0])
        grad_hidden_ND = torch.empty_like(hidden_ND)
        grad_weight_VD = torch.zeros_like(weight_VD, dtype=torch.float32)
        for i in range(0, len(labels_N), step):
            part = slice(i, i + step)
            probs_CV = torch.exp((hidden_ND[part] @ weight_VD.T).float() - log_total_N[part, None])
            # d logprob / d logits = onehot(label) - probs
            grad_logits_CV = probs_CV.neg_().scatter_add_(
                1, labels_N[part, None], torch.ones_like(labels_N[part, None], dtype=torch.float32)
            )
            grad_logits_CV = grad_logits_CV.mul_(grad_N[part, None]).to(hidden_ND.dtype)
            grad_hidden_ND[part] = grad_logits_CV @ weight_VD
            grad_weight_VD += (grad_logits_CV.T @ hidden_ND[part]).float()
        return grad_hidden_ND, grad_weight_VD.to(weight_VD.dtype), None
