"""Log-probabilities of the tokens of a prompt, for `echo` with `logprobs`: what evaluation harnesses ask for.

Shape suffixes: N prompt tokens, V vocabulary.
"""

from __future__ import annotations

import torch

from tutelage.model.hf_model import HFModel
from tutelage.model.transformer import Transformer

CHUNK = 256  # positions whose logits are held at once

TokenLogprob = tuple[float | None, list[tuple[int, float]]]


@torch.inference_mode()
def prompt_logprobs(model: Transformer | HFModel, prompt: list[int], top: int) -> list[TokenLogprob]:
    """For each token of a prompt its log-probability after the ones before it, and the `top` most likely tokens there
    as (id, log-probability). The first token has none. Computed by one forward pass without any cache, so that cached
    requests cannot change it."""
    device = model.embedding.weight.device
    tokens_N = torch.tensor(prompt, device=device)
    attend = model.within_segments((len(prompt),))
    hidden_ND = model.hidden(tokens_N, torch.arange(len(prompt), device=device), attend)  # type: ignore[arg-type]
    results: list[TokenLogprob] = [(None, [])]
    for start in range(0, len(prompt) - 1, CHUNK):
        labels_n = tokens_N[start + 1 : start + 1 + CHUNK]
        logits_nV = model.logits(hidden_ND[start : start + len(labels_n)])
        logits_nV = logits_nV.to(torch.promote_types(logits_nV.dtype, torch.float32))
        logprobs_nV = logits_nV.log_softmax(-1)
        chosen = logprobs_nV.gather(1, labels_n[:, None])[:, 0].tolist()
        best = logprobs_nV[:, : model.token_count].topk(min(top, model.token_count))
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        results += [
            (logprob, list(zip(ids, values, strict=True))) for logprob, (ids, values) in zip(chosen, pairs, strict=True)
        ]
    return results
