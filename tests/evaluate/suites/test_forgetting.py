from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from tutelage.batching.store import Store
from tutelage.evaluate.suites import SUITES
from tutelage.evaluate.suites.forgetting import FORGETTING_ALARM, forgetting
from tutelage.model.transformer import Transformer
from tutelage.runner import Run
from tutelage.tokenizer import Tokenizer

MakeModel = Callable[[int], Transformer]


def test_bits_per_byte_by_hand(
    texts: Sequence[str], text_store: Store, small_model: MakeModel, small_tokenizer: Tokenizer
) -> None:
    """A model of equal logits spends log2(vocabulary) bits on each token, its documents' ends included."""
    model = small_model(0)
    with torch.no_grad():
        model.embedding.weight.zero_()
    tokens = sum(len(small_tokenizer.encode(text)) + 1 for text in texts)
    size = sum(len(text.encode()) for text in texts)
    found = forgetting(model, model, text_store, small_tokenizer, 64)
    assert found.before == pytest.approx(tokens * math.log2(small_tokenizer.vocab_size) / size, rel=1e-5)
    assert (found.after, found.increase, found.low, found.high) == (found.before, 0, 0, 0)
    assert not found.alarm


def test_two_models_are_compared_on_the_same_text(
    text_store: Store, small_model: MakeModel, small_tokenizer: Tokenizer
) -> None:
    before, after = small_model(0), small_model(0)
    with torch.no_grad():
        after.embedding.weight.mul_(20)
    found = forgetting(before, after, text_store, small_tokenizer, 64)
    assert found.after > found.before
    assert found.increase == pytest.approx(found.after / found.before - 1)
    assert found.low <= found.increase <= found.high
    assert found.alarm
    bits_before, bits_after, sizes = (sum(column) for column in zip(*found.pieces, strict=True))
    assert (bits_before / sizes, bits_after / sizes) == pytest.approx((found.before, found.after))


@pytest.mark.parametrize(("increase", "alarm"), [(FORGETTING_ALARM, False), (0.11, True), (0.05, False)])
def test_the_alarm_rings_above_a_tenth(
    increase: float,
    alarm: bool,
    text_store: Store,
    small_model: MakeModel,
    small_tokenizer: Tokenizer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert FORGETTING_ALARM == 0.1
    monkeypatch.setattr("tutelage.evaluate.suites.forgetting.ratio_of_sums", lambda after, before: (increase, 0.0, 0.2))
    model = small_model(0)
    found = forgetting(model, model, text_store, small_tokenizer, 64)
    assert (found.increase, found.alarm) == (increase, alarm)


def test_pain_17_what_the_base_could_do_is_counted_before_and_after(tales_run: Run) -> None:
    found = SUITES["forgetting"].run(tales_run.session("chat"))
    figures = found.figures
    assert list(found.outcomes) == list(figures["by_data"]) == ["tales"]
    before, after, size = (sum(row[place] for row in found.outcomes["tales"]) for place in (1, 2, 3))
    text = (Path(tales_run.recipe.data["tales"].path)).read_text()  # type: ignore[union-attr, arg-type]
    assert size == len(text[int(len(text) * 0.9) :]) - 1  # nothing precedes a text's first character
    assert (figures["before"], figures["after"]) == pytest.approx((before / size, after / size))
    assert figures["increase"] == pytest.approx(after / before - 1)
    assert figures["increase"] == tales_run.summary()["evaluate.chat.forgetting.increase"]
