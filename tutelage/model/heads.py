"""From hidden states to log-probabilities, without ever holding all logits at once.

Shape suffixes: N positions, D width, V vocabulary, C positions of one chunk, R tokens with rows of their own.
"""

from __future__ import annotations

import torch

# Chunks of this many logits stay in the processor's cache (4 MB in float32): 33 MB of them cost more in fresh memory
# pages than in arithmetic. But no chunk has fewer positions than ROWS, below which a product with a large vocabulary's
# matrix waits for that matrix to be read: of 128K tokens a chunk is 134 MB, where 8K positions at once would be 4 GB.
CHUNK_NUMBERS = 1 << 20
ROWS = 256


def label_logprobs(
    hidden_ND: torch.Tensor,
    weight_VD: torch.Tensor,
    labels_N: torch.Tensor,
    cap: float | None = None,
    ids_R: torch.Tensor | None = None,
    rows_RD: torch.Tensor | None = None,
) -> torch.Tensor:
    """Log-probability of each label under softmax(hidden @ weight.T), float32 [N] (float64 where the inputs are). The
    products are made in the dtype of `hidden`, all else in float32 at least. With `cap` logits x are first made
    cap * tanh(x / cap). The tokens `ids_R`, where there are any, are scored by `rows_RD` in place of the weight's rows.

    Few logits are computed at once and kept for the backward pass; many are computed in chunks and again in backward,
    so that peak memory is one chunk (Wijmans et al. 2024, "Cut your losses", arXiv 2411.09009, at chunk granularity).
    A weight that is not trained gets no gradient, and no memory for one.
    """
    if hidden_ND.shape[0] * weight_VD.shape[0] > CHUNK_NUMBERS:
        return _ChunkedLogprobs.apply(hidden_ND, weight_VD, labels_N, cap, ids_R, rows_RD)
    logits_NV = hidden_ND @ weight_VD.to(hidden_ND.dtype).T
    if ids_R is not None and rows_RD is not None:
        logits_NV = logits_NV.index_copy(1, ids_R, hidden_ND @ rows_RD.to(hidden_ND.dtype).T)
    logits_NV = _wide(logits_NV)
    logits_NV = logits_NV if cap is None else cap * torch.tanh(logits_NV / cap)
    return _pick(logits_NV.log_softmax(dim=-1), labels_N)


def chunk_positions(vocab: int) -> int:
    """How many positions have their logits at once."""
    return max(ROWS, CHUNK_NUMBERS // vocab)


def _chunk_logits(
    hidden_CD: torch.Tensor,
    weight_VD: torch.Tensor,
    cap: float | None,
    ids_R: torch.Tensor | None,
    rows_RD: torch.Tensor | None,
) -> torch.Tensor:
    logits_CV = hidden_CD @ weight_VD.T
    if ids_R is not None and rows_RD is not None:
        logits_CV.index_copy_(1, ids_R, hidden_CD @ rows_RD.T)
    logits_CV = _wide(logits_CV)
    return logits_CV if cap is None else logits_CV.div_(cap).tanh_().mul_(cap)


def _wide(logits_CV: torch.Tensor) -> torch.Tensor:
    """In float32 at least: sums over a vocabulary need its digits."""
    return logits_CV.to(torch.promote_types(logits_CV.dtype, torch.float32))


def _pick(scores_CV: torch.Tensor, labels_C: torch.Tensor) -> torch.Tensor:
    return scores_CV.gather(1, labels_C[:, None])[:, 0]


class _ChunkedLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden_ND, weight_VD, labels_N, cap, ids_R, rows_RD):  # type: ignore[no-untyped-def]
        picked, sums = [], []
        narrow_VD, narrow_RD = _narrowed(hidden_ND, weight_VD, rows_RD)
        size = chunk_positions(len(weight_VD))
        for hidden_CD, labels_C in zip(hidden_ND.split(size), labels_N.split(size), strict=True):
            logits_CV = _chunk_logits(hidden_CD, narrow_VD, cap, ids_R, narrow_RD)
            picked.append(_pick(logits_CV, labels_C))
            largest_C1 = logits_CV.amax(dim=1, keepdim=True)
            sums.append(logits_CV.sub_(largest_C1).exp_().sum(dim=1).log_().add_(largest_C1[:, 0]))
        logsumexp_N = torch.cat(sums)
        ctx.save_for_backward(hidden_ND, weight_VD, labels_N, ids_R, rows_RD, logsumexp_N)
        ctx.cap = cap
        return torch.cat(picked) - logsumexp_N

    @staticmethod
    def backward(ctx, grad_N):  # type: ignore[no-untyped-def]
        hidden_ND, weight_VD, labels_N, ids_R, rows_RD, logsumexp_N = ctx.saved_tensors
        narrow_VD, narrow_RD = _narrowed(hidden_ND, weight_VD, rows_RD)
        grad_hidden_ND = torch.empty_like(hidden_ND)
        grad_VD = _zeros_for_sums(weight_VD) if ctx.needs_input_grad[1] else None
        grad_RD = None if rows_RD is None else _zeros_for_sums(rows_RD)
        size = chunk_positions(len(weight_VD))
        for start in range(0, len(labels_N), size):
            c = slice(start, start + size)
            logits_CV = _chunk_logits(hidden_ND[c], narrow_VD, ctx.cap, ids_R, narrow_RD)
            grad_CV = _logit_gradients(logits_CV, labels_N[c], logsumexp_N[c], grad_N[c], ctx.cap)
            grad_CV = grad_CV.to(hidden_ND.dtype)
            if grad_RD is not None:
                grad_CR = grad_CV.index_select(1, ids_R)
                grad_CV.index_fill_(1, ids_R, 0)  # what the weight holds in their rows was never looked at
                _add_product(grad_RD, grad_CR, hidden_ND[c])
            torch.mm(grad_CV, narrow_VD, out=grad_hidden_ND[c])
            if narrow_RD is not None:
                grad_hidden_ND[c] += grad_CR @ narrow_RD
            if grad_VD is not None:
                _add_product(grad_VD, grad_CV, hidden_ND[c])
        grad_VD = None if grad_VD is None else grad_VD.to(weight_VD.dtype)
        grad_RD = None if grad_RD is None else grad_RD.to(rows_RD.dtype)
        return grad_hidden_ND, grad_VD, None, None, None, grad_RD


def _narrowed(
    hidden_ND: torch.Tensor, weight_VD: torch.Tensor, rows_RD: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    return weight_VD.to(hidden_ND.dtype), None if rows_RD is None else rows_RD.to(hidden_ND.dtype)


def _zeros_for_sums(like: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(like, dtype=torch.promote_types(like.dtype, torch.float32))


def _logit_gradients(
    logits_CV: torch.Tensor,
    labels_C: torch.Tensor,
    logsumexp_C: torch.Tensor,
    grad_C: torch.Tensor,
    cap: float | None,
) -> torch.Tensor:
    """The gradients of logits before `cap`, from those of the labels' log-probabilities; written over the logits."""
    slope_CV = None if cap is None else 1 - (logits_CV / cap).square_()
    # d logprob / d logits = onehot(label) - probs
    grad_CV = logits_CV.sub_(logsumexp_C[:, None]).exp_().mul_(-grad_C[:, None])
    grad_CV.scatter_add_(1, labels_C[:, None], grad_C[:, None])
    return grad_CV if slope_CV is None else grad_CV.mul_(slope_CV)


def _add_product(sum_RD: torch.Tensor, grad_CR: torch.Tensor, hidden_CD: torch.Tensor) -> None:
    if grad_CR.dtype == sum_RD.dtype:
        sum_RD.addmm_(grad_CR.T, hidden_CD)
    else:
        sum_RD += grad_CR.T @ hidden_CD
