"""Losses of specialists: one class for each labelled position, or the start and end of a span in each segment.

Shape suffixes: N tokens of a batch, P labelled positions, S segments, K classes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from tutelage.batching.labelled import CANDIDATE, END, START
from tutelage.records import Batch
from tutelage.train.losses import Components, Loss, segments, trained_tokens
from tutelage.train.metrics import Metrics


def class_loss(head: str) -> Loss:
    """Cross-entropy of the class at each labelled position."""

    def loss(model: nn.Module, batch: Batch) -> tuple[Components, Metrics]:
        labelled_N = batch.weights_N != 0
        scores_PK = model.head_values(batch)[head][labelled_N]  # type: ignore[operator]
        labels_P, weights_P = batch.labels_N[labelled_N], batch.weights_N[labelled_N]
        loss_sum = (F.cross_entropy(scores_PK, labels_P, reduction="none") * weights_P).sum()
        right = float(((scores_PK.detach().argmax(dim=1) == labels_P) * weights_P).sum())
        figures = {"loss": (float(loss_sum.detach()), batch.count), "accuracy": (right, batch.count)}
        return {"loss": loss_sum}, Metrics(figures)

    return Loss(loss, {"loss": trained_tokens})


def span_loss(head: str) -> Loss:
    """Half the cross-entropy of the start plus half that of the end, each among the candidates of its segment (Devlin
    et al. 2018, arXiv 1810.04805, section 4.2)."""

    def loss(model: nn.Module, batch: Batch) -> tuple[Components, Metrics]:
        scores_NK = model.head_values(batch)[head]  # type: ignore[operator]
        logprobs = [_candidate_logprobs(scores_NK[:, column], batch) for column in (0, 1)]
        picked = [(values_N * batch.streams[name]).sum() for values_N, name in zip(logprobs, (START, END), strict=True)]
        loss_sum = -(picked[0] + picked[1]) / 2
        return {"loss": loss_sum}, Metrics({"loss": (float(loss_sum.detach()), segments(batch))})

    return Loss(loss, {"loss": segments})


def _candidate_logprobs(scores_N: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Log-probabilities of each position among the candidates of its segment; 0 at other positions."""
    candidate_N = batch.streams[CANDIDATE] != 0
    parts = []
    for scores_T, candidate_T in zip(scores_N.split(batch.lengths), candidate_N.split(batch.lengths), strict=True):
        masked_T = scores_T.masked_fill(~candidate_T, -1e30)  # finite: a padding segment has no candidate
        parts.append(masked_T.log_softmax(dim=0).masked_fill(~candidate_T, 0.0))
    return torch.cat(parts)
