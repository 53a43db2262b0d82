"""How well a model predicts text: held-out loss, and how much of it a later stage lost (forgetting)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from tutelage.batching.packing import collate, pack, to_device
from tutelage.batching.sources import text_bytes
from tutelage.batching.store import Store
from tutelage.evaluate.statistics import ratio_of_sums
from tutelage.model.transformer import Transformer
from tutelage.tokenizer import Tokenizer

FORGETTING_ALARM = 0.10  # the source documents' alarm: base loss up by a tenth


@dataclass(frozen=True)
class Forgetting:
    """Loss on held-out pre-training text, in bits per byte, before and after a stage, and its relative increase.

    groups: for each group of the text its bits before and after, and its bytes.
    """

    before: float
    after: float
    increase: float
    low: float
    high: float
    groups: list[tuple[float, float, int]]

    @property
    def alarm(self) -> bool:
        return self.increase > FORGETTING_ALARM


@torch.inference_mode()
def group_losses(model: Transformer, store: Store, micro_tokens: int) -> np.ndarray:
    """The weighted loss of each group of a store, summed over its tokens, in nats: float64 [groups]."""
    device = model.embedding.weight.device
    losses_G = np.zeros(len(store))
    for row in pack(store.tokens_G.tolist(), max(micro_tokens, store.longest)):
        batch = to_device(collate([store.group(i) for i in row]), device)
        trained = batch.weights_N != 0
        nats = -model(batch) * batch.weights_N[trained]
        segment_of_N = torch.repeat_interleave(torch.tensor(batch.lengths, device=device))
        sums_G = torch.zeros(len(row), dtype=torch.float64, device=device)
        sums_G.index_add_(0, batch.groups_S[segment_of_N[trained]], nats.double())
        losses_G[row] = sums_G.cpu().numpy()
    return losses_G


def mean_loss(losses_G: np.ndarray, store: Store) -> float:
    """Nats per trained token."""
    return float(losses_G.sum() / store.weight_G.sum(dtype=np.float64))


def forgetting(
    before: Transformer, after: Transformer, store: Store, tokenizer: Tokenizer, micro_tokens: int
) -> Forgetting:
    """Compare two models on the held-out pre-training text that both were kept from."""
    losses_before, losses_after = (group_losses(model, store, micro_tokens) for model in (before, after))
    bytes_G = text_bytes(store, tokenizer)
    before_G, after_G = losses_before / math.log(2), losses_after / math.log(2)
    increase, low, high = ratio_of_sums(after_G, before_G)
    total = bytes_G.sum()
    groups = list(zip(before_G.tolist(), after_G.tolist(), bytes_G.tolist(), strict=True))
    return Forgetting(float(before_G.sum() / total), float(after_G.sum() / total), increase, low, high, groups)
