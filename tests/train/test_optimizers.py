from __future__ import annotations

import pytest
import torch
from torch import nn

from tutelage.engine.weights_digest import weights_digest
from tutelage.model.parts import parts
from tutelage.model.sizes import ModelSettings, resolve
from tutelage.model.transformer import Transformer, initialise
from tutelage.train.optimizers import Optimizer, OptimizerSettings

LR, FACTORS = 0.01, (0.5, 1.0, 0.25)


GPT = ModelSettings(
    depth=2, width=16, heads=2, context=8, position="learned", bias=True, norm="layer", mlp="gelu"
)  # fmt: skip
LLAMA = ModelSettings(depth=2, width=16, heads=4, kv_heads=2, context=8, qk_norm=True)


def make(settings: ModelSettings = LLAMA) -> Transformer:
    return initialise(Transformer(resolve(settings, 19)), seed=1)


def set_gradients(model: Transformer, step: int, scale: float = 1.0) -> None:
    generator = torch.Generator().manual_seed(step)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator) * scale


def ours(
    optimizer_settings: OptimizerSettings, steps: int = 3, scale: float = 1.0, settings: ModelSettings = LLAMA
) -> tuple[Transformer, Optimizer]:
    model = make(settings)
    optimizer = Optimizer(model, optimizer_settings, LR)
    for step in range(steps):
        set_gradients(model, step, scale)
        optimizer.step(FACTORS[step], optimizer.gradient_norm())
        optimizer.zero_grad()
    return model, optimizer


def assert_same(model: Transformer, expected: Transformer, tolerance: float = 1e-6) -> None:
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=tolerance, atol=tolerance, msg=name)


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_a_step_counts_as_a_change_of_every_weight(kind: str) -> None:
    """PyTorch does not count what a fused step changes; a digest that is only computed again after counted changes said
    that the sampler had the weights that were trained, whatever it had."""
    model = make()
    optimizer = Optimizer(model, OptimizerSettings(kind=kind), LR)  # type: ignore[arg-type]
    digests = [weights_digest(model)]
    for step in range(2):
        set_gradients(model, step)
        versions = [parameter._version for parameter in model.parameters()]
        optimizer.step(1.0, 1.0)
        assert all(p._version > old for p, old in zip(model.parameters(), versions, strict=True))
        digests.append(weights_digest(model))
    assert len(set(digests)) == 3


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


def separate_matrices(model: Transformer) -> dict[str, nn.Parameter]:
    """Every logical matrix of the blocks as a parameter of its own, with its part of the gradient."""
    separate = {}
    for name, parameter in model.named_parameters():
        if name.startswith("blocks.") and parameter.ndim == 2:
            for part in parts(model.config, name):
                matrix = separate[f"{name}/{part.name}"] = nn.Parameter(parameter.detach()[part.rows].clone())
                matrix.grad = None if parameter.grad is None else parameter.grad[part.rows].clone()
    return separate


@pytest.mark.parametrize("settings", [GPT, LLAMA], ids=["gpt", "llama"])
def test_muon_is_torchs_own_on_separate_matrices_of_the_blocks_and_adamw_trains_the_rest(
    settings: ModelSettings,
) -> None:
    optimizer_settings = OptimizerSettings(kind="muon", momentum=0.9, weight_decay=0.2, clip=None)
    expected = make(settings)
    inner = separate_matrices(expected)
    assert len(inner) == 2 * (6 if settings is GPT else 7)
    rest = [p for n, p in expected.named_parameters() if not (n.startswith("blocks.") and p.ndim == 2)]
    assert any(p is expected.embedding.weight for p in rest)
    muon = torch.optim.Muon(
        list(inner.values()), lr=LR, momentum=0.9, weight_decay=0.2, adjust_lr_fn="match_rms_adamw"
    )  # fmt: skip
    groups = [
        {"params": [p for p in rest if p.ndim == 2], "weight_decay": 0.2},
        {"params": [p for p in rest if p.ndim == 1], "weight_decay": 0.0},
    ]
    adam = torch.optim.AdamW(
        groups, lr=LR, betas=optimizer_settings.betas, eps=optimizer_settings.eps, fused=True
    )  # fmt: skip
    for step, factor in enumerate(FACTORS):
        set_gradients(expected, step)
        for name, matrix in separate_matrices(expected).items():
            inner[name].grad = matrix.grad
        for optimizer in (muon, adam):
            for group in optimizer.param_groups:
                group["lr"] = LR * factor
            optimizer.step()
    model, _ = ours(optimizer_settings, settings=settings)
    trained = separate_matrices(model)
    assert all(torch.equal(trained[name], matrix) for name, matrix in inner.items())
    for name, parameter in expected.named_parameters():
        if any(parameter is other for other in rest):
            assert torch.equal(model.get_parameter(name), parameter), name


def test_pain_25_logical_matrices_move_at_one_rate_whatever_the_scale_of_their_gradients() -> None:
    """Gradients of queries are often far larger than those of values: as one matrix, values would hardly move."""
    model = make(ModelSettings(depth=1, width=64, heads=4, kv_heads=4, context=8))
    before = {name: matrix.detach() for name, matrix in separate_matrices(model).items()}
    optimizer = Optimizer(model, OptimizerSettings(kind="muon", clip=None), LR)
    set_gradients(model, 0)
    for name, scale in (("qkv", (10.0, 1.0, 0.1)), ("mlp_up", (3.0, 0.03))):
        parameter = model.get_parameter(f"blocks.0.{name}.weight")
        assert parameter.grad is not None
        for part, factor in zip(parts(model.config, f"blocks.0.{name}.weight"), scale, strict=True):
            parameter.grad[part.rows] *= factor
    optimizer.step(1.0, 1.0)
    rms = {
        name: float((matrix.detach() - before[name]).square().mean().sqrt()) / LR
        for name, matrix in separate_matrices(model).items()
    }
    # 0.2 (arXiv 2502.16982, eq. 4), less what five Newton-Schulz steps leave of it.
    assert all(0.15 < value < 0.2 for value in rms.values()), rms
    assert max(rms.values()) < 1.1 * min(rms.values()), rms


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
        ({"weight_decay": -0.1}, "eps and update_rms must be above 0, and weight_decay at least 0"),
    ],
)
def test_settings_that_would_train_backwards_or_not_at_all_are_refused(wrong: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match="must be") as error:
        OptimizerSettings(**wrong)
    assert str(error.value) == sentence
