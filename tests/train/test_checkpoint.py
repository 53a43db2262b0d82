from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tutelage.model.sizes import ModelSettings, resolve
from tutelage.model.transformer import Transformer, initialise
from tutelage.train.checkpoint import TrainState, load_checkpoint, save_checkpoint
from tutelage.train.optimizers import Optimizer, OptimizerSettings

POSITION = TrainState(
    step=7,
    data={"world": {"epoch": 1, "position": 12, "trained_tokens": 345.25}, "rng": [3, "state"]},
    fingerprint="abc",
    tokens=1000,
    trained_tokens=345.35,
    seconds=1.5,
)


def make(seed: int = 0) -> tuple[Transformer, Optimizer]:
    model = initialise(Transformer(resolve(ModelSettings(depth=1, width=16, context=8), 11)), seed)
    return model, Optimizer(model, OptimizerSettings(kind="muon"), 0.01)


def step(model: Transformer, optimizer: Optimizer, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    optimizer.step(1.0, optimizer.gradient_norm())


def same(a: Transformer, b: Transformer) -> bool:
    return all(torch.equal(a.state_dict()[name], value) for name, value in b.state_dict().items())


def test_what_is_taken_up_goes_on_bit_for_bit(tmp_path: Path) -> None:
    model, optimizer = make()
    step(model, optimizer, 0)
    save_checkpoint(tmp_path / "checkpoint", model, optimizer, POSITION)
    other, other_optimizer = make(seed=9)
    assert load_checkpoint(tmp_path / "checkpoint", other, other_optimizer, "abc") == POSITION
    assert same(other, model)
    step(model, optimizer, 1)
    step(other, other_optimizer, 1)
    assert same(other, model)


def test_none_and_another_runs_checkpoint_change_nothing(tmp_path: Path) -> None:
    model, optimizer = make()
    assert load_checkpoint(tmp_path / "checkpoint", model, optimizer, "abc") is None
    other, other_optimizer = make(seed=9)
    save_checkpoint(tmp_path / "checkpoint", other, other_optimizer, POSITION)
    assert load_checkpoint(tmp_path / "checkpoint", model, optimizer, "xyz") is None
    assert same(model, make()[0])
    assert optimizer.state_tensors() == {}


def test_a_replacement_cut_off_between_its_two_renames_leaves_the_old_one(tmp_path: Path) -> None:
    model, optimizer = make()
    save_checkpoint(tmp_path / "checkpoint", model, optimizer, POSITION)
    (tmp_path / "checkpoint").rename(tmp_path / ".checkpoint.old")
    other, other_optimizer = make(seed=9)
    assert load_checkpoint(tmp_path / "checkpoint", other, other_optimizer, "abc") == POSITION
    assert same(other, model)


def test_a_save_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    model, optimizer = make()
    save_checkpoint(tmp_path / "checkpoint", model, optimizer, POSITION)
    kept = {path.name: path.read_bytes() for path in (tmp_path / "checkpoint").iterdir()}
    broken = TrainState(step=8, data={}, fingerprint=object())  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        save_checkpoint(tmp_path / "checkpoint", model, optimizer, broken)
    assert {path.name: path.read_bytes() for path in (tmp_path / "checkpoint").iterdir()} == kept
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]
