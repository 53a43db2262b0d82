"""The most likely tokens at every position of a generated answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from tutelage.model.transformer import Transformer


@torch.inference_mode()
def top_logprobs(
    model: Transformer, prompt: np.ndarray, generated: Sequence[int], count: int
) -> list[list[tuple[int, float]]]:
    """For each generated token, the `count` most likely tokens at its position as (id, log-probability), most likely
    first; from one forward pass over prompt and answer."""
    if not generated:
        return []
    device = model.embedding.weight.device
    tokens_N = torch.tensor([*prompt.tolist(), *generated[:-1]], device=device)
    positions_N = torch.arange(len(tokens_N), device=device)
    hidden_ND = model.hidden(tokens_N, positions_N, model.within_segments((len(tokens_N),)))
    logprobs_TV = model.logits(hidden_ND[len(prompt) - 1 :]).float().log_softmax(-1)
    top = logprobs_TV[:, : model.token_count].topk(min(count, model.token_count))
    return [
        list(zip(ids, logprobs, strict=True))
        for ids, logprobs in zip(top.indices.tolist(), top.values.tolist(), strict=True)
    ]
