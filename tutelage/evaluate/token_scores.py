"""The log-probability and the rank of each token of a text under a model.

Shapes: N positions, T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from tutelage.batching.packing import collate, pack, to_device
from tutelage.model.hf_model import HFModel
from tutelage.model.transformer import Transformer
from tutelage.progress import track
from tutelage.records import Example

MICRO_TOKENS = 2048
_LOGIT_ROWS = 256  # positions whose logits are held at once


class TokenScores(NamedTuple):
    """Of each scored token its log-probability in nats, float64 [T], and its rank, int64 [T]: 1 is the likeliest."""

    logprob_T: np.ndarray
    rank_T: np.ndarray


@torch.inference_mode()
def token_scores(
    model: Transformer | HFModel, sequences: Sequence[np.ndarray], starts: Sequence[int], label: str = "texts"
) -> list[TokenScores]:
    """The scores of each sequence's tokens from its start on, given all tokens before. Sequences are laid end to end
    without padding, so that a score does not depend on what is scored beside it.

    starts: of each sequence the first token to score; 1 or more, since nothing precedes the first token.
    """
    examples = []
    for ids, start in zip(sequences, starts, strict=True):
        assert 1 <= start < len(ids), "a token is scored given at least one before it"
        weights = np.zeros(len(ids), np.float32)
        weights[start:] = 1
        examples.append(Example(ids, weights))
    device = model.embedding.weight.device
    found: dict[int, TokenScores] = {}
    lengths = [len(ids) for ids in sequences]
    with track(label, len(examples), "texts") as bar:
        for row in pack(lengths, max(MICRO_TOKENS, *lengths)) if lengths else []:
            batch = to_device(collate([(examples[place],) for place in row]), device)
            hidden_ND = model.hidden(batch.tokens_N, batch.positions_N, model.within_segments(batch.lengths))  # type: ignore[arg-type]
            scored = batch.weights_N.nonzero()[:, 0]
            logprob_N, rank_N = _scores(model, hidden_ND[scored], batch.labels_N[scored])
            sizes = np.cumsum([lengths[place] - starts[place] for place in row])[:-1]
            for place, logprob_T, rank_T in zip(row, np.split(logprob_N, sizes), np.split(rank_N, sizes), strict=True):
                found[place] = TokenScores(logprob_T, rank_T)
            bar.update(len(row))
    return [found[place] for place in range(len(examples))]


def _scores(
    model: Transformer | HFModel, hidden_ND: torch.Tensor, labels_N: torch.Tensor
) -> tuple[np.ndarray, np.ndarray]:
    logprobs, ranks = [], []
    for hidden, labels in zip(hidden_ND.split(_LOGIT_ROWS), labels_N.split(_LOGIT_ROWS), strict=True):
        logits_NV = model.logits(hidden)
        logits_NV = logits_NV.to(torch.promote_types(logits_NV.dtype, torch.float32))
        own_N1 = logits_NV.gather(1, labels[:, None])
        logprobs.append((own_N1[:, 0] - logits_NV.logsumexp(1)).double().cpu().numpy())
        ranks.append(((logits_NV > own_N1).sum(1) + 1).cpu().numpy())
    return np.concatenate(logprobs), np.concatenate(ranks)
