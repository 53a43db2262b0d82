"""Run by several processes for test_distributed.py: `two_processes.py JOB ARGUMENTS`."""

from __future__ import annotations

import math
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributed.tensor import DTensor

from tutelage.batching.loader import DataState, micro_batches
from tutelage.batching.preferences import SIDE
from tutelage.model import logprobs
from tutelage.model.families import FAMILIES
from tutelage.model.hub import save_tensors
from tutelage.model.lora import LoraSettings, add_lora
from tutelage.model.settings import Experts
from tutelage.model.sizes import ModelSettings, resolve
from tutelage.model.transformer import Transformer, initialise
from tutelage.records import Batch, Example, ExampleGroup, Schema, Stream
from tutelage.train.checkpoint import TrainState, load_checkpoint, save_checkpoint
from tutelage.train.distributed import (
    all_gather_object,
    barrier,
    broadcast_object,
    full_tensor,
    init_distributed,
    is_main_process,
    rank,
    shard,
    world_size,
)
from tutelage.train.loop import StepReport, train
from tutelage.train.losses import CROSS_ENTROPY, Components, Loss, trained_tokens
from tutelage.train.metrics import Metrics
from tutelage.train.optimizers import Optimizer, OptimizerSettings
from tutelage.train.policy_losses import (
    ADVANTAGE,
    OLD,
    OLD_VALUE,
    RESPONSE,
    RETURN,
    SAMPLED,
    PolicyOptions,
    ValueOptions,
    policy_loss,
    ppo_loss,
)
from tutelage.train.preference_losses import REFERENCE, LossOptions, pair_loss
from tutelage.train.reward_losses import reward_loss
from tutelage.train.router import RouterSettings, RouterTraining

DATA: DataState = {"all": {"epoch": 1, "position": 2, "trained_tokens": 3.0}}
# A vocabulary that two processes cannot share evenly, and steps of three micro-batches, so that one of them idles.
VOCAB, MICRO_TOKENS, STEPS = 31, 200, 3
LENGTHS = (120, 3, 100, 2, 60, 5, 128, 9, 40)
SHARES = (0.01, 1.0, 1.0, 1.0, 0.1, 0.5, 0.02, 1.0, 0.0)
ADAMW = OptimizerSettings(weight_decay=0.1)


def value_loss(model: torch.nn.Module, batch: Batch) -> tuple[Components, Metrics]:
    """Cross-entropy plus the squared value at trained positions; reads a head as losses of RL do."""
    assert isinstance(model, Transformer)
    outputs = model.outputs(batch)
    trained_N = batch.weights_N != 0
    weights = batch.weights_N[trained_N]
    values = outputs.heads["value"][trained_N]
    loss_sum = ((values.square() - outputs.logprobs) * weights).sum()
    return {"loss": loss_sum}, Metrics({"loss": (float(loss_sum.detach()), batch.count)})


VALUE = Loss(value_loss, {"loss": trained_tokens})


@dataclass(frozen=True)
class Case:
    """A model to train, and how."""

    model: ModelSettings
    optimizer: OptimizerSettings = ADAMW
    lora_rank: int = 0
    new_tokens: tuple[int, ...] = ()
    activation_checkpointing: bool = False
    head: bool = False
    loss: Loss = CROSS_ENTROPY
    router: RouterSettings | None = None


LLAMA = ModelSettings(depth=2, width=32, heads=4, kv_heads=2, context=128, tied=False)
QWEN = ModelSettings(depth=2, width=32, heads=4, kv_heads=2, context=128, qk_norm=True)
GPT = ModelSettings(depth=2, width=32, heads=4, context=128, position="learned", norm="layer", mlp="gelu", bias=True)
EXPERTS = Experts(count=6, used=2, width=16, scores="sigmoid", selection_bias=True, shared=1)
MIXTURE = ModelSettings(depth=2, width=32, heads=4, context=128, experts=EXPERTS)
CASES = {
    "llama": Case(LLAMA),
    "qwen3": Case(QWEN, activation_checkpointing=True),
    "qwen3 with a value head": Case(QWEN, activation_checkpointing=True, head=True, loss=VALUE),
    "llama with lora and a value head": Case(LLAMA, lora_rank=3, head=True, loss=VALUE),
    "llama of pairs": Case(LLAMA, loss=pair_loss("sigmoid", LossOptions(0.5, 0.1), nll=0.3)),
    "qwen3 of pairs, with a reward head": Case(QWEN, head=True, loss=reward_loss(0.2, 0.1)),
    "llama of samples": Case(LLAMA, loss=policy_loss(PolicyOptions(kl=0.3, replay=0.7, importance_cap=1.1))),
    "qwen3 of samples, with a value head": Case(
        QWEN, head=True, loss=ppo_loss(PolicyOptions(kl=0.1, replay=0.7), ValueOptions())
    ),
    "gpt2": Case(GPT, OptimizerSettings(kind="muon", weight_decay=0.1)),
    "llama with lora": Case(LLAMA, lora_rank=3, new_tokens=(29, 30)),
    "qwen3 with lora": Case(QWEN, lora_rank=3, new_tokens=(29, 30), activation_checkpointing=True),
    "llama with muon": Case(LLAMA, OptimizerSettings(kind="muon", weight_decay=0.1)),
    # Pairs of one row, of which one process has nothing.
    "mixture": Case(MIXTURE, router=RouterSettings(balance=0.3, balance_over="step", z=0.1, bias_rate=0.01)),
    "llama with lora and muon": Case(LLAMA, OptimizerSettings(kind="muon"), lora_rank=1),
}


def make(case: Case) -> Transformer:
    model = initialise(Transformer(resolve(case.model, VOCAB)), seed=0)
    if case.head:
        model.set_head(
            "reward" if case.loss.items else "value",
            torch.randn((1, 32), generator=torch.Generator().manual_seed(3)),
        )
    if case.lora_rank:
        add_lora(model, FAMILIES["llama"].modules, LoraSettings(rank=case.lora_rank), case.new_tokens, seed=1)
        generator = torch.Generator().manual_seed(2)
        with torch.no_grad():  # pairs whose product is zero would leave half of the gradients zero too
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.02)
    model.activation_checkpointing = case.activation_checkpointing
    return model.double()


def groups() -> list[ExampleGroup]:
    """Of very unequal lengths and trained shares; one alone is of the second source."""
    random = np.random.default_rng(4)
    made: list[ExampleGroup] = []
    for number, (length, share) in enumerate(zip(LENGTHS, SHARES, strict=True)):
        weights = np.zeros(length, np.float32)
        trained = max(int(share > 0), round(share * (length - 1)))
        weights[length - trained :] = random.choice([0.5, 1.0, 2.0], trained)
        tokens = random.integers(0, VOCAB, length).astype(np.int32)
        made.append((Example(tokens, weights, scalars={"dataset": float(number == 2)}),))
    return made


def pairs() -> list[ExampleGroup]:
    """Pairs that fill three micro-batches, so that one process idles."""
    random = np.random.default_rng(4)

    def side(length: int, sign: float) -> Example:
        weights = (np.arange(length) >= 20).astype(np.float32)
        reference = random.normal(-3.4, 0.02, length).astype(np.float32)
        tokens = random.integers(0, VOCAB, length).astype(np.int32)
        return Example(tokens, weights, None, {REFERENCE: reference}, {SIDE: sign})

    return [(side(first, 1.0), side(second, -1.0)) for first, second in ((90, 80), (60, 100), (100, 70))]


def samples() -> list[ExampleGroup]:
    """Samples of a policy, and replayed text."""
    random = np.random.default_rng(5)

    def sample(length: int, prompt: int) -> Example:
        weights = (np.arange(length) >= prompt).astype(np.float32)
        columns = {name: random.normal(-3.4, 0.2, length).astype(np.float32) for name in (SAMPLED, OLD, REFERENCE)}
        columns |= {name: random.normal(0, 1, length).astype(np.float32) for name in (ADVANTAGE, OLD_VALUE, RETURN)}
        return Example(random.integers(0, VOCAB, length).astype(np.int32), weights, None, columns, {RESPONSE: 1.0})

    text = Example(random.integers(0, VOCAB, 90).astype(np.int32), np.ones(90, np.float32))
    return [*((sample(*both),) for both in ((120, 20), (128, 5), (100, 90), (30, 3))), (text,)]


def batches_of(loss: Loss) -> list[Batch]:
    """The micro-batches of this process: of pairs or samples where the loss is one of them."""
    if "policy" in loss.denominators:
        streams = (SAMPLED, OLD, REFERENCE, ADVANTAGE, OLD_VALUE, RETURN)
        of_samples = Schema({name: Stream("float32") for name in streams}, {RESPONSE: 0.0})
        return micro_batches(samples(), MICRO_TOKENS, rank(), world_size(), of_samples)
    if loss.items is None:
        return micro_batches(groups(), MICRO_TOKENS, rank(), world_size())
    schema = Schema({REFERENCE: Stream("float32")}, {SIDE: 0.0})
    return micro_batches(pairs(), MICRO_TOKENS, rank(), world_size(), schema)


def steps(loss: Loss = CROSS_ENTROPY) -> Iterator[tuple[list[Batch], DataState]]:
    return repeat((batches_of(loss), DATA))


class Remembering(Optimizer):
    """Keeps the gradients it should step on, whole, and takes no step."""

    def step(self, factor: float, norm: float) -> None:
        self.gradients = {name: full_tensor(p.grad) for name, p in self.named.items() if p.grad is not None}


def part_here(parameter: torch.Tensor) -> torch.Tensor:
    """What this process holds of a parameter."""
    return parameter.to_local() if isinstance(parameter, DTensor) else parameter


def work_out(case: Case) -> dict[str, torch.Tensor]:
    """The gradients and figures of one step, and the weights after a few; all tensors on the first process alone."""
    model, kind = make(case), case.loss
    untouched = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    whole = shard(model)
    router = None if case.router is None else RouterTraining(model, EXPERTS, case.router)
    loss, stream = (kind, steps(kind)) if router is None else (router.loss(kind), router.batches(steps(kind), None))
    hooks = [lambda report: report.figures.update({} if router is None else router.after_step())]
    here = sum(part_here(parameter).numel() for parameter in model.parameters())
    assert here < 1.1 / world_size() * sum(parameter.numel() for parameter in model.parameters())
    remembering = Remembering(model, OptimizerSettings(clip=None), 1e-3)
    reports: list[StepReport] = []
    train(model, remembering, stream, loss, start=0, steps=1, lr=lambda step: 1.0, hooks=[reports.append, *hooks])
    before = whole()
    assert before is None or all(torch.equal(p, untouched[name]) for name, p in before.named_parameters())
    optimizer = Optimizer(model, case.optimizer, 1e-2)
    train(model, optimizer, stream, loss, start=0, steps=STEPS, lr=lambda step: 1.0, hooks=hooks)
    after = whole()
    if after is None:
        return {}
    report = reports[0]
    figures = {
        **report.metrics.means(),
        "norm": report.gradient_norm,
        "tokens": report.tokens,
        "trained_tokens": report.trained_tokens,
        **{name: value for name, value in report.figures.items() if value},
    }
    return {
        **{f"gradient/{name}": gradient for name, gradient in remembering.gradients.items()},
        **{f"figure/{name}": torch.tensor(value, dtype=torch.float64) for name, value in figures.items()},
        **{f"weight/{name}": tensor for name, tensor in after.state_dict().items()},
    }


POSITION = TrainState(7, DATA, "the same run", 10, 20.0, 30.0)


def trained(kind: str, taken: int) -> tuple[Transformer, Optimizer]:
    """A spread model and its optimizer after a number of steps."""
    model = make(CASES["llama"])
    shard(model)
    optimizer = Optimizer(model, OptimizerSettings(kind=kind), 1e-2)  # type: ignore[arg-type]
    train(model, optimizer, steps(), CROSS_ENTROPY, start=0, steps=taken, lr=lambda step: 1.0)
    return model, optimizer


def save(kind: str, folder: str) -> None:
    """A checkpoint after two steps."""
    model, optimizer = trained(kind, 2)
    save_checkpoint(Path(folder), model, optimizer, POSITION)


def load(kind: str, folder: str) -> dict[str, torch.Tensor]:
    """Weights and state after the checkpoint in a folder and one more step, whole."""
    model, optimizer = trained(kind, 0)
    assert load_checkpoint(Path(folder), model, optimizer, "another run") is None
    assert load_checkpoint(Path(folder), model, optimizer, "the same run") == POSITION
    train(model, optimizer, steps(), CROSS_ENTROPY, start=0, steps=1, lr=lambda step: 1.0)
    return {name: full_tensor(tensor) for name, tensor in (model.state_dict() | optimizer.state_tensors()).items()}


def everything(out: str) -> None:
    """Every case as `NAME.safetensors`; checkpoints as `both.KIND`, and what becomes of them and of those of one
    process (`alone.KIND`); at last the second process fails while the first waits for it."""
    logprobs.CHUNK_LOGITS = 0  # heads make their logits in several chunks
    logprobs.MIN_CHUNK_POSITIONS = 16
    with init_distributed():
        said = all_gather_object({"rank": rank(), "long" * (1 + rank()): math.inf})
        assert said == [{"rank": 0, "long": math.inf}, {"rank": 1, "longlong": math.inf}]
        assert broadcast_object(rank()) == 0
        with pytest.raises(ValueError, match="^a model whose architecture is not built in cannot be"):
            shard(torch.nn.Linear(1, 1))
        written = {name: work_out(case) for name, case in CASES.items()}
        for kind in ("adamw", "muon"):
            save(kind, f"{out}/both.{kind}")
            written |= {f"{by}.{kind}": load(kind, f"{out}/{by}.{kind}") for by in ("both", "alone")}
        if is_main_process():
            for name, tensors in written.items():
                save_tensors(Path(out) / f"{name}.safetensors", tensors)
        barrier()
        if rank() == 1:
            raise ValueError("the second process has no room")
        barrier()


def run(recipe: str, out: str, moment: str, *overrides: str) -> None:
    """`tutelage run` with overrides; the second process kills itself as it opens the n-th file that only it writes."""
    left = int(moment)

    def before(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event == "open" and str(arguments[0]).startswith(out) and "shard-00002" in str(arguments[0]):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    from tutelage.cli import main

    sys.addaudithook(before)
    main(["run", recipe, f"out={out}", *overrides])


JOBS = {job.__name__: job for job in (everything, run)}

if __name__ == "__main__":
    torch.set_num_threads(1)
    JOBS[sys.argv[1]](*sys.argv[2:])
