from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from tutelage.batching.packing import collate
from tutelage.batching.sources import document_groups
from tutelage.batching.store import Store, write_store
from tutelage.evaluate.loss import FORGETTING_ALARM, Forgetting, forgetting, group_losses, mean_loss
from tutelage.ledger import Ledger
from tutelage.model.sizes import ModelSettings, resolve
from tutelage.model.transformer import Transformer, initialise
from tutelage.records import Document, Example
from tutelage.tokenizer import TokenizerSettings, train
from tutelage.train.losses import cross_entropy

TEXTS = ["Grüße aus Köln", "a", "ein langer Satz mit vielen Worten darin", "日本"]
TOKENIZER = train(TEXTS, TokenizerSettings(kind="bpe", vocab=290))


def make(seed: int) -> Transformer:
    config = resolve(ModelSettings(depth=1, width=16, context=24), TOKENIZER.vocab_size)
    return initialise(Transformer(config), seed)


def documents(folder: Path) -> Store:
    ledger = Ledger("documents")
    rows = [Document(text, str(number)) for number, text in enumerate(TEXTS)]
    return write_store(folder / "store", document_groups(rows, TOKENIZER, 24, "train", 0.0, ledger), ledger)


def test_unit_losses_sum_to_the_cross_entropy(tmp_path: Path) -> None:
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
    model = make(0)
    for micro_tokens in (1, 30, 1000):
        losses = group_losses(model, store, micro_tokens)
        with torch.no_grad():
            for index, group in enumerate(groups):
                assert losses[index] == pytest.approx(float(cross_entropy(model, collate([group]))[0]), rel=1e-5)
            whole = float(cross_entropy(model, collate(groups))[0])
        assert losses.sum() == pytest.approx(whole, rel=1e-5)
        assert mean_loss(losses, store) == pytest.approx(whole / collate(groups).count, rel=1e-5)


def test_bits_per_byte_by_hand(tmp_path: Path) -> None:
    """A model of equal logits spends log2(vocabulary) bits on each token, its documents' ends included."""
    store, model = documents(tmp_path), make(0)
    with torch.no_grad():
        model.embedding.weight.zero_()
    tokens = sum(len(TOKENIZER.encode(text)) + 1 for text in TEXTS)
    size = sum(len(text.encode()) for text in TEXTS)
    found = forgetting(model, model, store, TOKENIZER, 64)
    assert found.before == pytest.approx(tokens * math.log2(TOKENIZER.vocab_size) / size, rel=1e-5)
    assert (found.after, found.increase, found.low, found.high) == (found.before, 0, 0, 0)


def test_forgetting_compares_two_models_on_the_same_text(tmp_path: Path) -> None:
    store, before, after = documents(tmp_path), make(0), make(0)
    with torch.no_grad():
        after.embedding.weight.mul_(20)
    found = forgetting(before, after, store, TOKENIZER, 64)
    assert found.after > found.before
    assert found.increase == pytest.approx(found.after / found.before - 1)
    assert found.low <= found.increase <= found.high
    assert found.alarm
    bits_before, bits_after, sizes = (sum(column) for column in zip(*found.groups, strict=True))
    assert (bits_before / sizes, bits_after / sizes) == pytest.approx((found.before, found.after))


def test_the_alarm_rings_above_a_tenth() -> None:
    assert not Forgetting(1.0, 1.1, FORGETTING_ALARM, 0.05, 0.15, []).alarm
    assert Forgetting(1.0, 1.11, 0.11, 0.05, 0.15, []).alarm
