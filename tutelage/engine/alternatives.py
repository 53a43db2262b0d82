"""What else a model might have written: its likeliest tokens at every place of an answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from tutelage.model.transformer import Transformer


@torch.inference_mode()
def alternatives(
    model: Transformer, prompt: np.ndarray, written: Sequence[int], count: int
) -> list[list[tuple[int, float]]]:
    """For each token written after the prompt, the `count` likeliest tokens there with their probabilities, in one
    forward pass over both."""
    if not written:
        return []
    device = model.embedding.weight.device
    tokens_N = torch.tensor([*prompt.tolist(), *written[:-1]], device=device)
    positions_N = torch.arange(len(tokens_N), device=device)
    hidden_ND = model.hidden(tokens_N, positions_N, model.within_segments((len(tokens_N),)))
    probabilities_TV = model.logits(hidden_ND[len(prompt) - 1 :]).float().softmax(-1)
    likeliest = probabilities_TV[:, : model.token_count].topk(min(count, model.token_count))
    return [
        list(zip(ids, shares, strict=True))
        for ids, shares in zip(likeliest.indices.tolist(), likeliest.values.tolist(), strict=True)
    ]
