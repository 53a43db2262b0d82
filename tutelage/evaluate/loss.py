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

    units: for each unit of the text its bits before and after, and its bytes.
    """

    before: float
    after: float
    increase: float
    low: float
    high: float
    units: list[tuple[float, float, int]]

    @property
    def alarm(self) -> bool:
        return self.increase > FORGETTING_ALARM


@torch.inference_mode()
def unit_losses(model: Transformer, store: Store, micro_tokens: int) -> np.ndarray:
    """The weighted loss of each unit of a store, summed over its tokens, in nats: float64 [units]."""
    device = model.embedding.weight.device
    losses_U = np.zeros(len(store))
    for row in pack(store.tokens_U.tolist(), max(micro_tokens, store.longest)):
        batch = to_device(collate([store.unit(i) for i in row]), device)
        graded = batch.weights_N != 0
        nats = -model(batch) * batch.weights_N[graded]
        segment_of_N = torch.repeat_interleave(torch.tensor(batch.lengths, device=device))
        sums_U = torch.zeros(len(row), dtype=torch.float64, device=device)
        sums_U.index_add_(0, batch.units_S[segment_of_N[graded]], nats.double())
        losses_U[row] = sums_U.cpu().numpy()
    return losses_U


def mean_loss(losses_U: np.ndarray, store: Store) -> float:
    """Nats per unit of graded weight."""
    return float(losses_U.sum() / store.graded_U.sum(dtype=np.float64))


def forgetting(
    before: Transformer, after: Transformer, store: Store, tokenizer: Tokenizer, micro_tokens: int
) -> Forgetting:
    """Compare two models on the held-out pre-training text that both were kept from."""
    losses_before, losses_after = (unit_losses(model, store, micro_tokens) for model in (before, after))
    bytes_U = text_bytes(store, tokenizer)
    before_U, after_U = losses_before / math.log(2), losses_after / math.log(2)
    increase, low, high = ratio_of_sums(after_U, before_U)
    total = bytes_U.sum()
    units = list(zip(before_U.tolist(), after_U.tolist(), bytes_U.tolist(), strict=True))
    return Forgetting(float(before_U.sum() / total), float(after_U.sum() / total), increase, low, high, units)
