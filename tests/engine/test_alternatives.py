from __future__ import annotations

import numpy as np
import pytest
import torch

from tutelage.engine.alternatives import alternatives
from tutelage.engine.decode import generate
from tutelage.engine.sampling import SamplingSettings
from tutelage.model.sizes import ModelSettings, resolve
from tutelage.model.transformer import Transformer, initialise

MODEL = initialise(Transformer(resolve(ModelSettings(depth=2, width=32, context=32), vocab=20)), seed=0)


def test_greedy_decoding_writes_the_likeliest_and_both_agree_on_its_probability() -> None:
    prompt = np.array([3, 1, 4, 1, 5], np.int32)
    (written,) = generate(MODEL, [prompt], frozenset(), SamplingSettings(max_tokens=10))
    found = alternatives(MODEL, prompt, written.tokens, 3)
    assert [places[0][0] for places in found] == written.tokens
    assert np.log([places[0][1] for places in found]) == pytest.approx(written.logprobs, abs=1e-5)
    assert all(len(places) == 3 and places[0][1] >= places[1][1] >= places[2][1] for places in found)


def test_all_tokens_together_are_certain_and_nothing_written_has_no_alternatives() -> None:
    prompt = np.array([2], np.int32)
    (places,) = alternatives(MODEL, prompt, [7], 50)
    assert len(places) == 20
    assert sum(share for _, share in places) == pytest.approx(1)
    assert torch.tensor([number for number, _ in places]).unique().numel() == 20
    assert alternatives(MODEL, prompt, [], 3) == []
