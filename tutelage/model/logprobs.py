"""From hidden states to log-probabilities of labels, without holding all logits at once.

Shape suffixes: N positions, D width, V vocabulary, C positions of one chunk, R tokens with trained rows.
"""

from __future__ import annotations

import torch

# A chunk of this many logits (4 MB in float32) stays in the CPU cache; at 33 MB allocating pages costs more than the
# arithmetic. A chunk never has fewer than MIN_CHUNK_POSITIONS positions: below that the matrix product is bound by
# reading a large vocabulary's matrix. With 128K tokens a chunk takes 134 MB; logits of 8K positions would take 4 GB.
CHUNK_LOGITS = 1 << 20
MIN_CHUNK_POSITIONS = 256


def label_logprobs(
    hidden_ND: torch.Tensor,
    weight_VD: torch.Tensor,
    labels_N: torch.Tensor,
    cap: float | None = None,
    ids_R: torch.Tensor | None = None,
    rows_RD: torch.Tensor | None = None,
) -> torch.Tensor:
    """Log-probability of each label under softmax(hidden @ weight.T), float32 [N] (float64 if the inputs are).

    Matrix products run in the dtype of `hidden`, all else in float32 at least. Few logits are computed at once and
    saved for the backward pass. Many are computed in chunks, and again in the backward pass, so peak memory is one
    chunk (Wijmans et al. 2024, "Cut your losses", arXiv 2411.09009, at chunk granularity). A frozen weight gets no
    gradient and no memory for one.

    hidden_ND: hidden states after the last norm.
    weight_VD: output embedding.
    labels_N:  int64 token ids.
    cap:       logits x become cap * tanh(x / cap).
    ids_R:     tokens whose logits come from `rows_RD` instead of from the weight's rows.
    rows_RD:   the trained rows of those tokens.
    """
    if hidden_ND.shape[0] * weight_VD.shape[0] > CHUNK_LOGITS:
        return _ChunkedLogprobs.apply(hidden_ND, weight_VD, labels_N, cap, ids_R, rows_RD)
    logits_NV = hidden_ND @ weight_VD.to(hidden_ND.dtype).T
    if ids_R is not None and rows_RD is not None:
        logits_NV = logits_NV.index_copy(1, ids_R, hidden_ND @ rows_RD.to(hidden_ND.dtype).T)
    logits_NV = _promote(logits_NV)
    logits_NV = logits_NV if cap is None else cap * torch.tanh(logits_NV / cap)
    return _gather_labels(logits_NV.log_softmax(dim=-1), labels_N)


def chunk_positions(vocab: int) -> int:
    """Positions in one chunk."""
    return max(MIN_CHUNK_POSITIONS, CHUNK_LOGITS // vocab)


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
    logits_CV = _promote(logits_CV)
    return logits_CV if cap is None else logits_CV.div_(cap).tanh_().mul_(cap)


def _promote(logits_CV: torch.Tensor) -> torch.Tensor:
    """Cast to float32 at least: sums over a vocabulary lose too many digits in bfloat16."""
    return logits_CV.to(torch.promote_types(logits_CV.dtype, torch.float32))


def _gather_labels(scores_CV: torch.Tensor, labels_C: torch.Tensor) -> torch.Tensor:
    return scores_CV.gather(1, labels_C[:, None])[:, 0]


class _ChunkedLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden_ND, weight_VD, labels_N, cap, ids_R, rows_RD):  # type: ignore[no-untyped-def]
        label_logits, logsumexps = [], []
        cast_VD, cast_RD = _cast_weights(hidden_ND, weight_VD, rows_RD)
        size = chunk_positions(len(weight_VD))
        for hidden_CD, labels_C in zip(hidden_ND.split(size), labels_N.split(size), strict=True):
            logits_CV = _chunk_logits(hidden_CD, cast_VD, cap, ids_R, cast_RD)
            label_logits.append(_gather_labels(logits_CV, labels_C))
            largest_C1 = logits_CV.amax(dim=1, keepdim=True)
            logsumexps.append(logits_CV.sub_(largest_C1).exp_().sum(dim=1).log_().add_(largest_C1[:, 0]))
        logsumexp_N = torch.cat(logsumexps)
        ctx.save_for_backward(hidden_ND, weight_VD, labels_N, ids_R, rows_RD, logsumexp_N)
        ctx.cap = cap
        return torch.cat(label_logits) - logsumexp_N

    @staticmethod
    def backward(ctx, grad_N):  # type: ignore[no-untyped-def]
        hidden_ND, weight_VD, labels_N, ids_R, rows_RD, logsumexp_N = ctx.saved_tensors
        cast_VD, cast_RD = _cast_weights(hidden_ND, weight_VD, rows_RD)
        grad_hidden_ND = torch.empty_like(hidden_ND)
        grad_VD = _zero_accumulator(weight_VD) if ctx.needs_input_grad[1] else None
        grad_RD = None if rows_RD is None else _zero_accumulator(rows_RD)
        size = chunk_positions(len(weight_VD))
        for start in range(0, len(labels_N), size):
            c = slice(start, start + size)
            logits_CV = _chunk_logits(hidden_ND[c], cast_VD, ctx.cap, ids_R, cast_RD)
            grad_CV = _logit_gradients(logits_CV, labels_N[c], logsumexp_N[c], grad_N[c], ctx.cap)
            grad_CV = grad_CV.to(hidden_ND.dtype)
            if grad_RD is not None:
                grad_CR = grad_CV.index_select(1, ids_R)
                grad_CV.index_fill_(1, ids_R, 0)  # the forward pass did not read the weight's own rows
                _add_product(grad_RD, grad_CR, hidden_ND[c])
            torch.mm(grad_CV, cast_VD, out=grad_hidden_ND[c])
            if cast_RD is not None:
                grad_hidden_ND[c] += grad_CR @ cast_RD
            if grad_VD is not None:
                _add_product(grad_VD, grad_CV, hidden_ND[c])
        grad_VD = None if grad_VD is None else grad_VD.to(weight_VD.dtype)
        grad_RD = None if grad_RD is None else grad_RD.to(rows_RD.dtype)
        return grad_hidden_ND, grad_VD, None, None, None, grad_RD


def _cast_weights(
    hidden_ND: torch.Tensor, weight_VD: torch.Tensor, rows_RD: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Both weights in the dtype of `hidden_ND`."""
    return weight_VD.to(hidden_ND.dtype), None if rows_RD is None else rows_RD.to(hidden_ND.dtype)


def _zero_accumulator(like: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(like, dtype=torch.promote_types(like.dtype, torch.float32))


def _logit_gradients(
    logits_CV: torch.Tensor,
    labels_C: torch.Tensor,
    logsumexp_C: torch.Tensor,
    grad_C: torch.Tensor,
    cap: float | None,
) -> torch.Tensor:
    """Gradients of the logits before `cap`, from those of the labels' log-probabilities; overwrites the logits."""
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
