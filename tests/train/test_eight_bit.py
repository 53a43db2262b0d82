from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tutelage.batching.packing import collate
from tutelage.model.memory import training_bytes
from tutelage.model.sizes import ModelSettings, resolve
from tutelage.model.transformer import Transformer, initialise
from tutelage.records import Example
from tutelage.train import eight_bit
from tutelage.train.checkpoint import TrainState, load_checkpoint, save_checkpoint
from tutelage.train.losses import cross_entropy
from tutelage.train.optimizers import Optimizer, OptimizerSettings

VOCAB = 128
EIGHT = OptimizerSettings(state_bits=8, weight_decay=0.1)


def model() -> Transformer:
    return initialise(Transformer(resolve(ModelSettings(depth=1, width=64, heads=2, context=32), VOCAB)), seed=0)


def steps(trained: Transformer, optimizer: Optimizer, numbers: range) -> list[float]:
    losses = []
    for number in numbers:
        tokens = np.random.default_rng(number % 4).integers(0, VOCAB, 24).astype(np.int32)
        loss = cross_entropy(trained, collate([(Example(tokens),)]))[0]["loss"] / 23
        loss.backward()
        optimizer.step(1.0, optimizer.gradient_norm())
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return losses


def test_state_has_8_bits_and_trains_nearly_as_float32() -> None:
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed; the extra bitsandbytes has it")
    narrow, wide = model(), model()
    narrow_optimizer, wide_optimizer = Optimizer(narrow, EIGHT, 3e-3), Optimizer(wide, OptimizerSettings(), 3e-3)
    losses = [steps(*pair, range(40)) for pair in ((narrow, narrow_optimizer), (wide, wide_optimizer))]
    assert losses[0][0] == losses[1][0]
    assert losses[0][-1] < 0.75 * losses[0][0]
    assert losses[0][-1] == pytest.approx(losses[1][-1], rel=0.05)
    state = narrow_optimizer.state_tensors()
    assert state["blocks.0.qkv.weight/state1"].dtype == torch.uint8
    assert state["final_norm.weight/state1"].dtype == torch.float32  # too few numbers
    assert not any("qmap" in name for name in state)
    held = 8 * sum(p.numel() for p in narrow.parameters()) + sum(
        tensor.nbytes for name, tensor in state.items() if not name.endswith("/step")
    )
    assert training_bytes(narrow.config, muon=False, state_bits=8) == pytest.approx(held, rel=0.02)


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed; the extra bitsandbytes has it")
    settings = OptimizerSettings(kind=kind, state_bits=8)  # type: ignore[arg-type]
    whole = model()
    expected = steps(whole, Optimizer(whole, settings, 3e-3), range(6))
    first = model()
    optimizer = Optimizer(first, settings, 3e-3)
    losses = steps(first, optimizer, range(3))
    save_checkpoint(tmp_path / "checkpoint", first, optimizer, TrainState(3, None, "abc"))
    second = model()
    resumed = Optimizer(second, settings, 3e-3)
    assert load_checkpoint(tmp_path / "checkpoint", second, resumed, "abc") is not None
    losses += steps(second, resumed, range(3, 6))
    assert losses == expected
    for name, parameter in whole.named_parameters():
        assert torch.equal(parameter, second.get_parameter(name))


def test_without_the_library_or_with_more_processes_it_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ValueError, match=r"^bitsandbytes cannot be imported \(.*; run: pip install 'tutelage\[bitsand"):
        Optimizer(model(), EIGHT, 1e-3)
    monkeypatch.setattr(eight_bit, "world_size", lambda: 2)
    with pytest.raises(ValueError, match="^optimizer.state_bits = 8 works in one process only; leave it at 32$"):
        Optimizer(model(), EIGHT, 1e-3)
