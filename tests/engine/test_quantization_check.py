from __future__ import annotations

import pytest
import torch

from tutelage.engine.quantization_check import measure_quantization
from tutelage.model.quantization import quantize_rows
from tutelage.model.sizes import ModelSettings, resolve
from tutelage.model.transformer import Transformer, initialise


def test_the_loss_is_small_and_names_both_perplexities() -> None:
    model = initialise(Transformer(resolve(ModelSettings(depth=2, width=256, context=64), 300)), seed=1)
    loss = measure_quantization(model)
    assert 0 < loss.kl < 0.01
    assert loss.perplexity == pytest.approx(loss.full_perplexity, rel=0.02)
    assert 1 < loss.full_perplexity < 310
    assert f"perplexity {loss.perplexity:.2f}, full weights {loss.full_perplexity:.2f}" in loss.sentence()


def test_s25_a_broken_quantisation_shows() -> None:
    """Rows of very different size: one scale for all rows would lose the small ones."""
    model = initialise(Transformer(resolve(ModelSettings(depth=1, width=256, context=64), 300)), seed=1)
    with torch.no_grad():
        for parameter in model.blocks.parameters():
            parameter.mul_(torch.logspace(-2, 1, len(parameter)).view(-1, *[1] * (parameter.ndim - 1)))
    assert measure_quantization(model).kl < 0.05
    weight = model.blocks[0].qkv.weight
    integers, scale = quantize_rows(weight)
    error = (integers * scale[:, None] - weight).norm(dim=1) / weight.norm(dim=1)
    assert error.max() < 0.02
