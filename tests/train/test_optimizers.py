from __future__ import annotations

import pytest
import torch

from tutelage.model.sizes import ModelSettings, resolve
from tutelage.model.transformer import Transformer, initialise
from tutelage.train.optimizers import Optimizer, OptimizerSettings

LR, FACTORS = 0.01, (0.5, 1.0, 0.25)


def make() -> Transformer:
    settings = ModelSettings(depth=2, width=16, heads=2, context=8, position="learned", bias=True, norm="layer")
    return initialise(Transformer(resolve(settings, 19)), seed=1)


def set_gradients(model: Transformer, step: int, scale: float = 1.0) -> None:
    generator = torch.Generator().manual_seed(step)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator) * scale


def ours(settings: OptimizerSettings, steps: int = 3, scale: float = 1.0) -> tuple[Transformer, Optimizer]:
    model = make()
    optimizer = Optimizer(model, settings, LR)
    for step in range(steps):
        set_gradients(model, step, scale)
        optimizer.step(FACTORS[step], optimizer.gradient_norm())
        optimizer.zero_grad()
    return model, optimizer


def assert_same(model: Transformer, expected: Transformer, tolerance: float = 1e-6) -> None:
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=tolerance, atol=tolerance, msg=name)


def test_adamw_is_torchs_own_with_decay_on_matrices_alone() -> None:
    settings = OptimizerSettings(kind="adamw", betas=(0.8, 0.9), eps=1e-6, weight_decay=0.3, clip=None)
    expected = make()
    matrices = [p for p in expected.parameters() if p.ndim == 2]
    vectors = [p for p in expected.parameters() if p.ndim == 1]
    assert matrices
    assert vectors
    groups = [{"params": matrices, "weight_decay": 0.3}, {"params": vectors, "weight_decay": 0.0}]
    adam = torch.optim.AdamW(groups, lr=LR, betas=(0.8, 0.9), eps=1e-6, foreach=False, fused=False)
    for step, factor in enumerate(FACTORS):
        set_gradients(expected, step)
        for group in adam.param_groups:
            group["lr"] = LR * factor
        adam.step()
    assert_same(ours(settings)[0], expected)


def test_muon_takes_the_matrices_of_the_blocks_and_adamw_the_rest() -> None:
    settings = OptimizerSettings(kind="muon", momentum=0.9, weight_decay=0.2, clip=None)
    expected = make()
    inner = {n: p for n, p in expected.named_parameters() if n.startswith("blocks.") and p.ndim == 2}
    rest = {n: p for n, p in expected.named_parameters() if n not in inner}
    assert "embedding.weight" in rest
    assert len(inner) == 2 * 4
    muon = torch.optim.Muon(
        list(inner.values()), lr=LR, momentum=0.9, weight_decay=0.2, adjust_lr_fn="match_rms_adamw"
    )  # fmt: skip
    groups = [
        {"params": [p for p in rest.values() if p.ndim == 2], "weight_decay": 0.2},
        {"params": [p for p in rest.values() if p.ndim == 1], "weight_decay": 0.0},
    ]
    adam = torch.optim.AdamW(groups, lr=LR, betas=settings.betas, eps=settings.eps, foreach=False)
    for step, factor in enumerate(FACTORS):
        set_gradients(expected, step)
        for optimizer in (muon, adam):
            for group in optimizer.param_groups:
                group["lr"] = LR * factor
            optimizer.step()
    # Muon orthogonalises in bfloat16: another order of its products shows in the third digit of an update of about LR.
    assert_same(ours(settings)[0], expected, tolerance=1e-4)


def test_gradients_above_the_clip_are_scaled_down_to_it_and_smaller_ones_are_left() -> None:
    model = make()
    optimizer = Optimizer(model, OptimizerSettings(clip=1.0, betas=(0.0, 0.0)), LR)
    for scale, expected in ((10.0, 1.0), (1e-4, None)):
        set_gradients(model, 0, scale)
        norm = optimizer.gradient_norm()
        by_hand = sum(float(p.grad.double().square().sum()) for p in model.parameters() if p.grad is not None) ** 0.5
        assert norm == pytest.approx(by_hand, rel=1e-5)
        optimizer.step(1.0, norm)
        assert optimizer.gradient_norm() == pytest.approx(expected or by_hand, rel=1e-5)


def test_a_step_of_factor_zero_changes_nothing() -> None:
    model = make()
    optimizer = Optimizer(model, OptimizerSettings(kind="muon", weight_decay=0.1), LR)
    set_gradients(model, 0)
    optimizer.step(0.0, optimizer.gradient_norm())
    assert_same(model, make(), tolerance=0)


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_state_tensors_carry_the_whole_state(kind: str) -> None:
    """A new optimizer that takes up the state goes on bit for bit like the old one."""
    settings = OptimizerSettings(kind=kind, weight_decay=0.1)  # type: ignore[arg-type]
    model, optimizer = ours(settings, steps=2)
    state = {name: tensor.clone() for name, tensor in optimizer.state_tensors().items()}
    assert {name.rpartition("/")[0] for name in state} == set(dict(model.named_parameters()))
    other = make()
    other.load_state_dict(model.state_dict())
    resumed = Optimizer(other, settings, LR)
    resumed.load_state_tensors({name: tensor.clone() for name, tensor in state.items()})
    for each, steps in ((model, optimizer), (other, resumed)):
        set_gradients(each, 2)
        steps.step(1.0, steps.gradient_norm())
    assert_same(other, model, tolerance=0)
    after, after_resumed = optimizer.state_tensors(), resumed.state_tensors()
    assert after.keys() == after_resumed.keys()
    assert all(torch.equal(after[name], after_resumed[name]) for name in after)


def test_state_of_another_model_is_refused() -> None:
    _, optimizer = ours(OptimizerSettings(), steps=1)
    with pytest.raises(
        ValueError, match=r"^the optimizer state contains blocks\.7\.qkv\.weight, which the model does not train"
    ):
        optimizer.load_state_tensors({"blocks.7.qkv.weight/exp_avg": torch.zeros(1)})


@pytest.mark.parametrize("lr", [0.0, -1.0, float("nan")])
def test_a_rate_that_is_not_above_zero_is_refused(lr: float) -> None:
    with pytest.raises(ValueError, match=r"^lr is .*; a learning rate must be above 0"):
        Optimizer(make(), OptimizerSettings(), lr)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"clip": 0.0}, "clip is 0.0; it must be above 0 (inf never clips)"),
        ({"clip": -1.0}, "clip is -1.0; it must be above 0 (inf never clips)"),
        ({"betas": (0.9, 1.0)}, "betas holds 1.0; it must be at least 0 and below 1"),
        ({"momentum": -0.1}, "momentum holds -0.1; it must be at least 0 and below 1"),
        ({"weight_decay": -0.1}, "eps must be above 0, and weight_decay at least 0"),
    ],
)
def test_settings_that_would_train_backwards_or_not_at_all_are_refused(wrong: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match="must be") as error:
        OptimizerSettings(**wrong)
    assert str(error.value) == sentence
