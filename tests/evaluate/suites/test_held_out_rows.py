from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from tutelage.batching.store import Store
from tutelage.evaluate.suites import SUITES
from tutelage.evaluate.suites.held_out_rows import row_losses
from tutelage.model.transformer import Transformer
from tutelage.runner import Run
from tutelage.tokenizer import Tokenizer

MakeModel = Callable[[int], Transformer]


def test_nats_per_token_by_hand(text_store: Store, small_model: MakeModel, small_tokenizer: Tokenizer) -> None:
    """A model of equal logits spends log(vocabulary) nats on each trained token."""
    model = small_model(0)
    with torch.no_grad():
        model.embedding.weight.zero_()
    found = row_losses(model, model, text_store, 64)
    assert found.before == pytest.approx(math.log(small_tokenizer.vocab_size), rel=1e-5)
    assert (found.after, found.change, found.low, found.high) == (found.before, 0, 0, 0)
    assert (found.rows, len(found.pieces)) == (len(text_store), len(text_store))


def test_a_better_model_has_a_negative_change(text_store: Store, small_model: MakeModel) -> None:
    before, after = small_model(0), small_model(0)
    with torch.no_grad():
        before.embedding.weight.mul_(20)
    found = row_losses(before, after, text_store, 64)
    assert found.low <= found.change <= found.high < 0
    nats_before, nats_after, tokens = (sum(column) for column in zip(*found.pieces, strict=True))
    assert (nats_before / tokens, nats_after / tokens) == pytest.approx((found.before, found.after))


def test_a_stage_learns_its_held_out_rows(tales_run: Run) -> None:
    results = SUITES["held_out_rows"].run(tales_run.session("chat"))
    (figures,) = results.figures["by_data"].values()
    logged = tales_run.stage_done("chat")
    assert logged is not None
    (name,) = results.figures["by_data"]
    assert figures["after"] == pytest.approx(logged["held_out"][name], rel=1e-4)
    assert figures["high"] < 0, "its loss on rows that it was not trained on fell"
    assert len(results.outcomes[name]) == figures["rows"]
