from __future__ import annotations

import msgspec
import pytest
import torch

from tutelage.model.sizes import ModelSettings, resolve
from tutelage.model.transformer import Transformer, initialise
from tutelage.train.coordinate_check import coordinate_check
from tutelage.train.optimizers import Optimizer, OptimizerSettings
from tutelage.train.width import part_of, std_factor

SETTINGS = ModelSettings(depth=2, heads=2, context=32, tied=False)
WIDTHS = (64, 128, 256)


@pytest.mark.parametrize(("kind", "lr"), [("adamw", 2e-3), ("muon", 5e-3)])
def test_pain_33_activations_move_as_much_in_wide_models_under_mup(kind: str, lr: float) -> None:
    """Without it they move by more with every doubling: the check would see muP wired wrongly."""
    growth = {}
    for base in (None, 64):
        optimizer = OptimizerSettings(kind=kind, base_width=base)  # type: ignore[arg-type]
        changes = coordinate_check(SETTINGS, WIDTHS, optimizer, lr, steps=3)
        assert changes.keys() == set(WIDTHS)
        growth[base] = {name: changes[256][name] / changes[64][name] for name in changes[64]}
    print(growth)
    for name in ("block.1", "logits"):
        assert 0.6 < growth[64][name] < 1.35
        assert growth[None][name] > 1.3 * growth[64][name]


def test_pain_33_decay_times_rate_does_not_change_with_the_width() -> None:
    """A coordinate check does not see decay. Only the matrices of blocks and the output embedding are scaled."""
    config = resolve(msgspec.structs.replace(SETTINGS, width=256, heads=8), 64)
    model = Transformer(config)
    optimizer = Optimizer(model, OptimizerSettings(kind="muon", weight_decay=0.1, base_width=64), lr=1.0)
    found = {}
    for inner in optimizer.optimizers:
        for group in inner.param_groups:
            for parameter in group["params"]:
                name = next(name for name, p in model.named_parameters() if p is parameter)
                found[name] = group["scale"], group["weight_decay"] * group["scale"]
    assert found["head.weight"] == (0.25, pytest.approx(0.1))
    assert found["embedding.weight"] == (1.0, pytest.approx(0.1))
    assert found["blocks.0.qkv.weight"] == (0.5, pytest.approx(0.1))
    assert found["blocks.0.mlp_norm.weight"] == (1.0, 0.0)


def test_a_model_of_the_base_width_is_unchanged() -> None:
    config = resolve(msgspec.structs.replace(SETTINGS, width=64), 64)
    plain = initialise(Transformer(config), 0)
    scaled = initialise(Transformer(config), 0, lambda name: std_factor(part_of(name, True), 64, 64))
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), scaled.parameters(), strict=True))


def test_a_tied_output_embedding_is_refused() -> None:
    model = Transformer(resolve(ModelSettings(depth=1, width=32, heads=1), 10))
    with pytest.raises(ValueError, match=r"^optimizer.base_width scales .*; set model.tied = false$"):
        Optimizer(model, OptimizerSettings(base_width=16), lr=0.1)
