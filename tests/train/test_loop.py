from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from pathlib import Path

import numpy as np
import pytest
import torch

from tutelage.batching.loader import DataState, micro_batches
from tutelage.model.hub import WEIGHTS, load_tensors
from tutelage.model.sizes import ModelSettings, resolve
from tutelage.model.transformer import Transformer, initialise
from tutelage.records import Batch, Example, ExampleGroup
from tutelage.train.checkpoint import OPTIMIZER_FILE, TrainState, save_checkpoint
from tutelage.train.loop import LossNotFinite, NothingToTrain, Precision, StepReport, train
from tutelage.train.losses import CROSS_ENTROPY, cross_entropy
from tutelage.train.optimizers import Optimizer, OptimizerSettings

VOCAB, CONTEXT = 31, 128
# Very unequal lengths, and from one trained token of a hundred to all of them: where means of means go wrong.
LENGTHS_AND_SHARES = [
    (120, 0.01),
    (3, 1.0),
    (100, 1.0),
    (2, 1.0),
    (60, 0.1),
    (5, 0.5),
    (128, 0.02),
    (9, 1.0),
    (40, 0.0),
]


class Remembering(Optimizer):
    """Keeps the gradients it stepped on, and takes no step if `still`."""

    def __init__(self, model: Transformer, still: bool = True) -> None:
        super().__init__(model, OptimizerSettings(clip=None), lr=1e-3)
        self.still = still
        self.gradients: dict[str, torch.Tensor] = {}

    def step(self, factor: float, norm: float) -> None:
        self.gradients = {name: p.grad.clone() for name, p in self.named.items() if p.grad is not None}
        if not self.still:
            super().step(factor, norm)


def make() -> Transformer:
    config = resolve(ModelSettings(depth=2, width=32, heads=2, context=CONTEXT), VOCAB)
    return initialise(Transformer(config), seed=0).double()


def groups() -> list[ExampleGroup]:
    random = np.random.default_rng(4)
    made: list[ExampleGroup] = []
    for length, share in LENGTHS_AND_SHARES:
        weights = np.zeros(length, np.float32)
        trained = max(int(share > 0), round(share * (length - 1)))
        weights[length - trained :] = random.choice([0.5, 1.0, 2.0], trained)
        made.append((Example(random.integers(0, VOCAB, length).astype(np.int32), weights),))
    return made


def one_step(micro: list[Batch], model: Transformer) -> tuple[StepReport, dict[str, torch.Tensor]]:
    reports: list[StepReport] = []
    optimizer = Remembering(model)
    stream: Iterator[tuple[list[Batch], DataState]] = iter([(micro, {})])
    train(model, optimizer, stream, CROSS_ENTROPY, start=0, steps=1, lr=lambda step: 1.0, hooks=[reports.append])
    return reports[0], optimizer.gradients


def distance(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> float:
    return max(float((found[n] - wanted[n]).abs().max() / wanted[n].abs().max()) for n in wanted)


@pytest.mark.parametrize("micro_tokens", [128, 130, 250])
def test_pain_10_eight_micro_batches_are_one_large_one(micro_tokens: int) -> None:
    """In float64, to within 1e-9: loss, gradients and gradient norm of a step do not depend on how it is cut."""
    model = make()
    whole, cut = micro_batches(groups(), 10_000), micro_batches(groups(), micro_tokens)
    assert len(whole) == 1
    assert len(cut) >= 2
    (one, gradients), (many, gradients_cut) = one_step(whole, model), one_step(cut, model)
    assert distance(gradients_cut, gradients) < 1e-9
    assert many.metrics.means()["loss"] == pytest.approx(one.metrics.means()["loss"], rel=1e-9)
    assert many.gradient_norm == pytest.approx(one.gradient_norm, rel=1e-9)
    assert many.trained_tokens == pytest.approx(one.trained_tokens, rel=1e-12)
    assert many.tokens == one.tokens == sum(length for length, _ in LENGTHS_AND_SHARES)


def test_pain_10_the_case_tells_a_mean_of_means_from_the_right_mean() -> None:
    """What the field's trainers did: were it done here, the test above would fail by far."""
    model = make()
    _, right = one_step(micro_batches(groups(), 10_000), model)
    micro = micro_batches(groups(), 128)
    for batch in micro:
        loss = cross_entropy(model, batch)[0]["loss"]
        (loss / max(batch.count, 1) / len(micro)).backward()
    wrong = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert distance(wrong, right) > 0.1


def test_the_gradients_of_all_ranks_sum_to_that_of_one_process() -> None:
    model = make()
    _, right = one_step(micro_batches(groups(), 10_000), model)
    total = sum(batch.count for batch in micro_batches(groups(), 128))
    for rank in range(3):
        for batch in micro_batches(groups(), 128, rank, ranks=3):
            (cross_entropy(model, batch)[0]["loss"] / total).backward()
    summed = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert distance(summed, right) < 1e-9


def test_a_filler_adds_nothing_to_any_gradient() -> None:
    model = make()
    group = groups()[2]
    _, alone = one_step(micro_batches([group], 128), model)
    _, filled = one_step(micro_batches([group], 128) + micro_batches([group], 128, rank=1, ranks=2), model)
    assert all(torch.equal(alone[name], filled[name]) for name in alone)


def test_the_loss_is_the_weighted_mean_over_trained_tokens() -> None:
    model = make()
    report, _ = one_step(micro_batches(groups(), 128), model)
    total = weight = 0.0
    for (example,) in groups():
        tokens = torch.from_numpy(example.tokens).long()
        hidden = model.hidden(tokens, torch.arange(len(tokens)), model.within_segments((len(tokens),)))
        logprobs = model.logits(hidden).log_softmax(dim=-1).detach()
        assert example.weights is not None
        for t in range(1, len(tokens)):
            total -= float(logprobs[t - 1, tokens[t]] * float(example.weights[t]))
            weight += float(example.weights[t])
    assert report.metrics.means()["loss"] == pytest.approx(total / weight, rel=1e-9)
    assert report.trained_tokens == pytest.approx(weight)


def test_pain_07_pain_08_a_step_without_a_trained_token_is_refused() -> None:
    model = make()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    nothing = [(Example(np.arange(5, dtype=np.int32), np.zeros(5, np.float32)),)]
    stream: Iterator[tuple[list[Batch], DataState]] = iter([(micro_batches(nothing, 8), {})])
    with pytest.raises(NothingToTrain, match="^step 1: all loss weights are 0"):
        train(model, Remembering(model, still=False), stream, CROSS_ENTROPY, start=0, steps=1, lr=lambda step: 1.0)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_loss_that_is_not_finite_stops_before_the_weights_are_touched() -> None:
    model = make()
    with torch.no_grad():
        model.embedding.weight[7] = float("nan")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    stream: Iterator[tuple[list[Batch], DataState]] = iter([(micro_batches(groups(), 128), {})])
    with pytest.raises(
        LossNotFinite, match=r"^step 1: the gradient is not finite \(loss .*nan.*\); lower the learning"
    ):
        train(model, Remembering(model, still=False), stream, CROSS_ENTROPY, start=0, steps=1, lr=lambda step: 1.0)
    assert all(torch.equal(before[n].nan_to_num(9), v.nan_to_num(9)) for n, v in model.state_dict().items())


def test_steps_are_counted_from_start_and_the_rate_follows() -> None:
    model = make()
    reports: list[StepReport] = []
    stream: Iterator[tuple[list[Batch], DataState]] = iter([(micro_batches(groups(), 10_000), {})] * 3)
    optimizer = Remembering(model, still=False)
    train(
        model, optimizer, stream, CROSS_ENTROPY, start=4, steps=7, lr=lambda step: step / 10, hooks=[reports.append]
    )  # fmt: skip
    assert [report.done for report in reports] == [5, 6, 7]
    assert [report.lr_factor for report in reports] == [0.4, 0.5, 0.6]
    losses = [report.metrics.means()["loss"] for report in reports]
    assert losses == sorted(losses, reverse=True)
    assert all(p.grad is None for p in model.parameters())


def test_bfloat16_follows_float32_and_every_number_kept_is_float32(tmp_path: Path) -> None:
    """A third of the loss goes in 30 steps either way, nowhere 3% apart; and the two are not the same run."""
    curves: dict[str, list[float]] = {}
    precisions: tuple[Precision, ...] = ("float32", "bfloat16")
    for precision in precisions:
        model = make().float()
        optimizer = Optimizer(model, OptimizerSettings(), lr=3e-3)
        losses = curves.setdefault(precision, [])

        def note(report: StepReport, losses: list[float] = losses) -> None:
            losses.append(report.metrics.means()["loss"])

        stream: Iterator[tuple[list[Batch], DataState]] = repeat((micro_batches(groups(), 250), {}))
        train(
            model, optimizer, stream, CROSS_ENTROPY, start=0, steps=30, lr=lambda step: 1.0, hooks=[note],
            precision=precision,
        )  # fmt: skip
    assert curves["float32"][-1] < curves["float32"][0] * 2 / 3
    assert curves["bfloat16"] == pytest.approx(curves["float32"], rel=0.03)
    assert curves["bfloat16"] != curves["float32"]
    save_checkpoint(tmp_path / "checkpoint", model, optimizer, TrainState(30, {}, ""))
    for name in (WEIGHTS, OPTIMIZER_FILE):
        assert {tensor.dtype for tensor in load_tensors(tmp_path / "checkpoint" / name).values()} == {torch.float32}
