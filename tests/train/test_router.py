from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from tests.killed_run import run
from tutelage.batching.loader import micro_batches
from tutelage.batching.packing import padding_batch
from tutelage.files import read_json
from tutelage.model.hub import load_model
from tutelage.model.moe import Router, route
from tutelage.model.settings import Experts
from tutelage.model.sizes import ModelSettings, resolve
from tutelage.model.transformer import Transformer, initialise
from tutelage.records import Batch, Example, ExampleGroup, Schema
from tutelage.train.loop import NothingToTrain, StepReport, train
from tutelage.train.losses import CROSS_ENTROPY
from tutelage.train.optimizers import Optimizer, OptimizerSettings
from tutelage.train.router import RouterSettings, RouterTraining, segment_balance, step_balance

EXPERTS = Experts(count=6, used=2, width=12, scores="sigmoid", selection_bias=True)
LENGTHS = (60, 3, 40, 2, 25, 5)
BOTH = [RouterSettings(balance=0.3, z=0.2, balance_over=over) for over in ("segment", "step")]  # type: ignore[arg-type]


def make(experts: Experts = EXPERTS) -> Transformer:
    """In float64, with routing margins far above rounding errors."""
    config = resolve(ModelSettings(depth=2, width=16, heads=2, context=64, experts=experts), 31)
    model = initialise(Transformer(config), seed=0).double()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, Router):
                module.weight.mul_(20)
    return model


def groups(weight: float = 1.0) -> list[ExampleGroup]:
    random = np.random.default_rng(4)
    return [
        (Example(random.integers(0, 31, length).astype(np.int32), np.full(length, weight, np.float32)),)
        for length in LENGTHS
    ]


def one_step(model: Transformer, micro: list[Batch], settings: RouterSettings) -> tuple[StepReport, dict[str, Any]]:
    """A report, and the gradients beside what the router's figures say."""
    training = RouterTraining(model, model.config.experts or EXPERTS, settings)
    optimizer, reports, gradients = Optimizer(model, OptimizerSettings(clip=None), lr=1e-3), [], {}

    def keep(report: StepReport) -> None:
        reports.append(report)
        report.figures.update(training.after_step())

    original = optimizer.step

    def step(factor: float, norm: float) -> None:
        gradients.update({name: p.grad.clone() for name, p in optimizer.named.items() if p.grad is not None})
        original(0.0, norm)

    optimizer.step = step  # type: ignore[method-assign]
    stream = training.batches(iter([(micro, {})]), None)
    loss = training.loss(CROSS_ENTROPY)
    train(model, optimizer, stream, loss, start=0, steps=1, lr=lambda step: 1.0, hooks=[keep])
    return reports[0], gradients


@pytest.mark.parametrize("settings", BOTH, ids=["segment", "step"])
def test_pain_8_eight_micro_batches_are_one_large_one_with_balance_and_z_losses(settings: RouterSettings) -> None:
    whole, cut = micro_batches(groups(), 1000), micro_batches(groups(), 64)
    assert len(whole) == 1
    assert len(cut) >= 3
    (one, expected), (many, found) = (one_step(make(), micro, settings) for micro in (whole, cut))
    plain = one_step(make(), whole, RouterSettings())[1]
    for name, gradient in expected.items():
        assert float((found[name] - gradient).abs().max()) < 1e-9 * float(gradient.abs().max())
    assert all(not torch.allclose(plain[name], expected[name]) for name in plain if "router" in name)
    for name in ("loss", "router.balance", "router.z"):
        assert many.metrics.means()[name] == pytest.approx(one.metrics.means()[name], rel=1e-9)
    assert many.figures == one.figures
    assert one.figures["router.smallest_margin"] > 1e-6


def test_pain_8_the_balance_loss_of_two_experts_by_hand() -> None:
    """Scores 0.75 and 0.25 for three tokens, the other way round for one; each token goes to its best expert. So f is
    (3/4, 1/4), P is (5/8, 3/8), and the loss 2 (15/32 + 3/32) = 9/8."""
    two = Experts(count=2, used=1, width=1, normalised=False)
    logits_NE = torch.tensor([[0.75, 0.25]] * 3 + [[0.25, 0.75]], dtype=torch.float64).log()
    routing = route(two, logits_NE, None)
    assert segment_balance(two, routing, (4,)).item() / 4 == pytest.approx(9 / 8)
    assert step_balance(two, routing, torch.tensor([3, 1])).item() / 4 == pytest.approx(9 / 8)
    # In two segments: three tokens with f (1, 0) and P (3/4, 1/4), one with f (0, 1) and P (1/4, 3/4).
    assert segment_balance(two, routing, (3, 1)).item() == pytest.approx(3 * 1.5 + 1.5)
    even = route(msgspec.structs.replace(two, used=2), torch.zeros(4, 2, dtype=torch.float64), None)
    assert step_balance(two, even, torch.tensor([4, 4])).item() / 4 == pytest.approx(1)


def biases(model: Transformer) -> list[torch.Tensor]:
    return [module.selection_bias for module in model.modules() if isinstance(module, Router)]  # type: ignore[misc]


def test_pain_9_a_selection_bias_moves_once_a_step_however_it_is_cut() -> None:
    """Also with activation checkpointing, padding batches and an evaluation in between: bit for bit. Its mean is 0, and
    experts with more than the mean load lose."""
    settings, found = RouterSettings(bias_rate=0.01), []
    for micro_tokens, again, evaluate in ((1000, False, False), (64, False, True), (64, True, False)):
        model = make()
        model.activation_checkpointing = again
        micro = [*micro_batches(groups(), micro_tokens), *([padding_batch(Schema())] if again else [])]
        for _ in range(3):
            if evaluate:
                with torch.no_grad():
                    model(micro[0])
            one_step(model, micro, settings)
        found.append(biases(model))
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))
    for bias_E in found[0]:
        assert bias_E.abs().max() > 0.01
        assert abs(float(bias_E.mean())) < 1e-7


def test_loss_free_balancing_evens_out_the_load() -> None:
    model = make()
    with torch.no_grad():  # all tokens to the first two experts
        biases(model)[0].copy_(torch.tensor([1.0, 1.0, 0, 0, 0, 0]))
        biases(model)[1].copy_(torch.tensor([1.0, 1.0, 0, 0, 0, 0]))
    micro, settings = micro_batches(groups(), 1000), RouterSettings(bias_rate=0.05)
    loads = [one_step(model, micro, settings)[0].figures["router.max_load"] for _ in range(40)]
    assert loads[0] == pytest.approx(3.0)
    assert loads[-1] < 2.0


def test_a_step_without_trained_tokens_is_refused_in_spite_of_balance() -> None:
    with pytest.raises(NothingToTrain):
        one_step(make(), micro_batches(groups(weight=0.0), 1000), BOTH[0])


def test_ties_are_counted() -> None:
    model = make()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, Router):
                module.weight[1].copy_(module.weight[0])
    report, _ = one_step(model, micro_batches(groups(), 1000), RouterSettings())
    assert report.figures["router.near_ties"] > 0
    assert report.figures["router.smallest_margin"] == 0


def test_a_bias_that_does_not_exist_cannot_be_moved() -> None:
    model = make(msgspec.structs.replace(EXPERTS, selection_bias=False))
    assert model.config.experts is not None
    with pytest.raises(ValueError, match=r"^router.bias_rate moves the selection bias of experts, and this model has"):
        RouterTraining(model, model.config.experts, RouterSettings(bias_rate=0.1))


RECIPE = """
name      = "mixture"
model     = { depth = 2, width = 32, context = 64, experts = { count = 4, used = 2, width = 16, shared = 1, scores = \
"sigmoid", selection_bias = true, dense_layers = [0] } }
tokenizer = { kind = "char" }

[data]
world = { kind = "world", people = 20, versions = 1 }

[stages.base]
kind         = "pretrain"
data         = { world = 1 }
steps        = 12
batch_tokens = 256
micro_tokens = 128
optimizer    = { kind = "muon" }
router       = { balance = 0.01, z = 0.001, bias_rate = 0.01 }
checkpoint_seconds = 0
"""


@pytest.mark.slow
def test_a_mixture_trains_and_a_killed_run_resumes_bit_for_bit(tmp_path: Path) -> None:
    recipe = tmp_path / "mixture.toml"
    recipe.write_text(RECIPE)
    whole = run(recipe, tmp_path / "whole", part="base/checkpoint")
    assert whole.returncode == 0, whole.stderr
    middle = int(whole.stdout.split()[-1]) // 2
    killed = run(recipe, tmp_path / "killed", signal.SIGKILL, middle, "base/checkpoint")
    assert killed.returncode == -signal.SIGKILL
    resumed = run(recipe, tmp_path / "killed", part="base/checkpoint")
    assert resumed.returncode == 0, resumed.stderr
    models = [load_model(tmp_path / name / "base").model for name in ("whole", "killed")]
    tensors = [model.state_dict() for model in models]
    assert all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])
    assert any(bias_E.abs().max() > 0 for bias_E in biases(models[0]))
    lines = [json.loads(line) for line in (tmp_path / "whole/base/train.jsonl").read_text().splitlines()]
    assert {"router.balance", "router.z", "router.max_load", "router.smallest_margin"} <= lines[0].keys()
    assert read_json(tmp_path / "whole/base/stage.json")["parameters"] > 0
