"""Figures of each item of a held-out store, such as the margin of every preference pair."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch

from tutelage.batching.packing import collate, pack, to_device
from tutelage.batching.store import Store
from tutelage.model.transformer import Transformer
from tutelage.records import Batch

Items = Callable[[Transformer, Batch], tuple[Mapping[str, torch.Tensor], Mapping[str, torch.Tensor]]]


@torch.inference_mode()
def item_figures(model: Transformer, store: Store, items: Items, micro_tokens: int) -> dict[str, np.ndarray]:
    """Every figure that a loss gives of its items (`Loss.items`), float64 [groups] each, in the order of the store:
    every group is one item. Empty for a store without groups."""
    device = model.embedding.weight.device
    columns: dict[str, np.ndarray] = {}
    for row in pack(store.tokens_G.tolist(), max(micro_tokens, store.longest)):
        _, figures = items(model, to_device(collate([store.group(i) for i in row], store.schema), device))
        for name, values_G in figures.items():
            columns.setdefault(name, np.zeros(len(store)))[row] = values_G.double().cpu().numpy()
    return columns
