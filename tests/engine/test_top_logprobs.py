from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tutelage.engine.engine import generate
from tutelage.engine.sampling import SamplingSettings
from tutelage.engine.top_logprobs import top_logprobs
from tutelage.model.sizes import ModelSettings, resolve
from tutelage.model.transformer import Transformer, initialise

MODEL = initialise(Transformer(resolve(ModelSettings(depth=2, width=32, context=32), vocab=20)), seed=0)


def test_greedy_decoding_takes_the_most_likely_token_and_logprobs_agree() -> None:
    prompt = np.array([3, 1, 4, 1, 5], np.int32)
    (generation,) = generate(MODEL, [prompt], frozenset(), SamplingSettings(max_tokens=10))
    positions = top_logprobs(MODEL, prompt, generation.tokens, 3)
    assert [top[0][0] for top in positions] == generation.tokens
    assert [top[0][1] for top in positions] == pytest.approx(generation.logprobs, abs=1e-5)
    assert all(len(top) == 3 and top[0][1] >= top[1][1] >= top[2][1] for top in positions)


def test_all_probabilities_sum_to_one_and_an_empty_answer_has_no_positions() -> None:
    prompt = np.array([2], np.int32)
    (top,) = top_logprobs(MODEL, prompt, [7], 50)
    assert len(top) == 20
    assert sum(math.exp(logprob) for _, logprob in top) == pytest.approx(1)
    assert torch.tensor([token for token, _ in top]).unique().numel() == 20
    assert top_logprobs(MODEL, prompt, [], 3) == []
