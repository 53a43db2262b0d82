"""How well a model predicts text: the loss of each example group of a store."""

from __future__ import annotations

import numpy as np
import torch

from tutelage.batching.packing import collate, group_sum, pack, segment_sum, to_device
from tutelage.batching.store import Store
from tutelage.model.transformer import Transformer


@torch.inference_mode()
def group_losses(model: Transformer, store: Store, micro_tokens: int) -> np.ndarray:
    """The weighted loss of each group of a store, summed over its tokens, in nats: float64 [groups]."""
    device = model.embedding.weight.device
    losses_G = np.zeros(len(store))
    for row in pack(store.tokens_G.tolist(), max(micro_tokens, store.longest)):
        batch = to_device(collate([store.group(i) for i in row]), device)
        nats_P = -model(batch) * batch.weights_N[batch.weights_N != 0]
        losses_G[row] = group_sum(segment_sum(nats_P.double(), batch), batch).cpu().numpy()
    return losses_G


def mean_loss(losses_G: np.ndarray, store: Store) -> float:
    """Nats per trained token."""
    return float(losses_G.sum() / store.weight_G.sum(dtype=np.float64))
