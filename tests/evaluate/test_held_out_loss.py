from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tutelage.batching.packing import collate
from tutelage.batching.store import write_store
from tutelage.evaluate.held_out_loss import group_losses, mean_loss
from tutelage.ledger import Ledger
from tutelage.model.transformer import Transformer
from tutelage.records import Example
from tutelage.train.losses import CROSS_ENTROPY


def test_group_losses_sum_to_the_cross_entropy(small_model: Callable[[int], Transformer], tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    ledger = Ledger("pairs")
    groups = []
    for lengths in ((5, 9), (3,), (20, 2, 4), (24,)):
        ledger.read()
        ledger.keep()
        groups.append(
            tuple(
                Example(random.integers(0, 200, n).astype(np.int32), random.choice([0, 0.5, 1], n).astype(np.float32))
                for n in lengths
            )
        )
    store = write_store(tmp_path / "store", groups, ledger)
    model = small_model(0)

    def loss(rows: list[tuple[Example, ...]]) -> float:
        components, _ = CROSS_ENTROPY.function(model, collate(rows))
        return float(sum(components.values()))

    for micro_tokens in (1, 30, 1000):
        losses = group_losses(model, store, micro_tokens)
        with torch.no_grad():
            for index, group in enumerate(groups):
                assert losses[index] == pytest.approx(loss([group]), rel=1e-5)
            whole = loss(groups)
        assert losses.sum() == pytest.approx(whole, rel=1e-5)
        assert mean_loss(losses, store) == pytest.approx(whole / collate(groups).count, rel=1e-5)
