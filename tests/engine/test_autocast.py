"""The engine under autocast, as rollouts of bfloat16 training sample."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tutelage.batching.packing import collate
from tutelage.engine.engine import generate
from tutelage.engine.sampling import SamplingSettings
from tutelage.model.sizes import ModelSettings, resolve
from tutelage.model.transformer import Transformer, initialise
from tutelage.records import Example

PROMPTS = [np.arange(5, 5 + length) for length in (3, 9, 17)]


@pytest.mark.parametrize("width", [32, 256], ids=["plain matrices", "packed matrices"])
def test_samples_of_a_float32_model_have_the_log_probabilities_of_training_in_bfloat16(width: int) -> None:
    settings = ModelSettings(depth=2, width=width, heads=4, kv_heads=2, context=64, mlp="swiglu")
    model = initialise(Transformer(resolve(settings, vocab=512)), seed=0)
    with torch.no_grad():
        for parameter in model.blocks.parameters():
            parameter.mul_(4 if parameter.ndim == 2 else 1)
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        generations = generate(model, PROMPTS, frozenset(), SamplingSettings(max_tokens=24, temperature=0.0))
        for prompt, generation in zip(PROMPTS, generations, strict=True):
            tokens = np.concatenate([prompt, generation.tokens])
            weights = np.where(np.arange(len(tokens)) >= len(prompt), 1.0, 0.0)
            batch = collate([(Example(tokens, weights),)])
            torch.testing.assert_close(torch.tensor(generation.logprobs), model(batch).float(), atol=0.05, rtol=0.02)
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
