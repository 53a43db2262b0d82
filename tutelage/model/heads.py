"""From hidden states to log-probabilities, without ever holding all logits at once.

Shape suffixes: N positions, D width, V vocabulary, C positions of one chunk.
"""

from __future__ import annotations

import torch

# Chunks of this many logits stay in the processor's cache (4 MB in float32): 33 MB of them cost more in fresh memory
# pages than in arithmetic. But no chunk has fewer positions than ROWS, below which a product with a large vocabulary's
# matrix waits for that matrix to be read: of 128K tokens a chunk is 134 MB, where 8K positions at once would be 4 GB.
CHUNK_NUMBERS = 1 << 20
ROWS = 256


def label_logprobs(
    hidden_ND: torch.Tensor, weight_VD: torch.Tensor, labels_N: torch.Tensor, cap: float | None = None
) -> torch.Tensor:
    """Log-probability of each label under softmax(hidden @ weight.T), float32 [N] (float64 where the inputs are). The
    products are made in the dtype of `hidden`, all else in float32 at least. With `cap` logits x are first made
    cap * tanh(x / cap).

    Few logits are computed at once and kept for the backward pass; many are computed in chunks and again in backward,
    so that peak memory is one chunk (Wijmans et al. 2024, "Cut your losses", arXiv 2411.09009, at chunk granularity).
    """
    if hidden_ND.shape[0] * weight_VD.shape[0] <= CHUNK_NUMBERS:
        logits_NV = _wide(hidden_ND @ weight_VD.to(hidden_ND.dtype).T)
        logits_NV = logits_NV if cap is None else cap * torch.tanh(logits_NV / cap)
        return _pick(logits_NV.log_softmax(dim=-1), labels_N)
    return _ChunkedLogprobs.apply(hidden_ND, weight_VD, labels_N, cap)


def chunk_positions(vocab: int) -> int:
    """How many positions have their logits at once."""
    return max(ROWS, CHUNK_NUMBERS // vocab)


def _chunk_logits(hidden_CD: torch.Tensor, weight_VD: torch.Tensor, cap: float | None) -> torch.Tensor:
    logits_CV = _wide(hidden_CD @ weight_VD.T)
    return logits_CV if cap is None else logits_CV.div_(cap).tanh_().mul_(cap)


def _wide(logits_CV: torch.Tensor) -> torch.Tensor:
    """In float32 at least: sums over a vocabulary need its digits."""
    return logits_CV.to(torch.promote_types(logits_CV.dtype, torch.float32))


def _pick(scores_CV: torch.Tensor, labels_C: torch.Tensor) -> torch.Tensor:
    return scores_CV.gather(1, labels_C[:, None])[:, 0]


class _ChunkedLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden_ND, weight_VD, labels_N, cap):  # type: ignore[no-untyped-def]
        picked, sums = [], []
        narrow_VD, size = weight_VD.to(hidden_ND.dtype), chunk_positions(len(weight_VD))
        for hidden_CD, labels_C in zip(hidden_ND.split(size), labels_N.split(size), strict=True):
            logits_CV = _chunk_logits(hidden_CD, narrow_VD, cap)
            picked.append(_pick(logits_CV, labels_C))
            largest_C1 = logits_CV.amax(dim=1, keepdim=True)
            sums.append(logits_CV.sub_(largest_C1).exp_().sum(dim=1).log_().add_(largest_C1[:, 0]))
        logsumexp_N = torch.cat(sums)
        ctx.save_for_backward(hidden_ND, weight_VD, labels_N, logsumexp_N)
        ctx.cap = cap
        return torch.cat(picked) - logsumexp_N

    @staticmethod
    def backward(ctx, grad_N):  # type: ignore[no-untyped-def]
        hidden_ND, weight_VD, labels_N, logsumexp_N = ctx.saved_tensors
        narrow_VD, size = weight_VD.to(hidden_ND.dtype), chunk_positions(len(weight_VD))
        grad_hidden_ND = torch.empty_like(hidden_ND)
        grad_weight_VD = torch.zeros_like(weight_VD, dtype=torch.promote_types(weight_VD.dtype, torch.float32))
        for start in range(0, len(labels_N), size):
            c = slice(start, start + size)
            logits_CV = _chunk_logits(hidden_ND[c], narrow_VD, ctx.cap)
            slope_CV = None if ctx.cap is None else 1 - (logits_CV / ctx.cap).square_()
            # d logprob / d logits = onehot(label) - probs
            grad_CV = logits_CV.sub_(logsumexp_N[c, None]).exp_().mul_(-grad_N[c, None])
            grad_CV.scatter_add_(1, labels_N[c, None], grad_N[c, None])
            if slope_CV is not None:
                grad_CV.mul_(slope_CV)
            grad_CV = grad_CV.to(hidden_ND.dtype)
            torch.mm(grad_CV, narrow_VD, out=grad_hidden_ND[c])
            if grad_CV.dtype == grad_weight_VD.dtype:
                grad_weight_VD.addmm_(grad_CV.T, hidden_ND[c])
            else:
                grad_weight_VD += grad_CV.T @ hidden_ND[c]
        return grad_hidden_ND, grad_weight_VD.to(weight_VD.dtype), None, None
