"""What one GPU does: MFU of pre-training and SFT of a 1B model, decoding, many requests at once, DPO, GRPO.

    python benchmarks/gpu.py                  # a CUDA GPU; 12 minutes at most, imports included
    python benchmarks/gpu.py --only pretrain,decode
    python benchmarks/gpu.py --dry-run        # a tiny model on the CPU: tests the script, measures nothing

Random weights and random tokens: speed does not depend on them. The shape is that of Llama 3.2 1B (16 layers, width
2,048, 32 heads, 8 key-value heads, MLP 8,192) with an untied vocabulary of 32,768; weights float32, products bfloat16.
MFU is the FLOPs of the matrix products and of causal attention, forward and backward (`flops_per_token`: PaLM, arXiv
2204.02311, appendix B; recomputation does not count), over the part's dense bfloat16 peak, also with float8. Each part
warms up for two steps and stops after its share of the time. Parts such as pretrain+compile are those with other
kernels (`tutelage.train.kernels`), to be compared with the part without. One JSON line per part; the last has all.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from typing import Any

import numpy as np
import torch

from tutelage.batching.loader import micro_batches
from tutelage.batching.preferences import SIDE
from tutelage.cost.hardware import PARTS, Part
from tutelage.engine.engine import Engine, EngineSettings
from tutelage.engine.sampling import SamplingSettings
from tutelage.model.sizes import ModelConfig, ModelSettings, flops_per_token, parameter_count, resolve
from tutelage.model.transformer import Transformer, initialise
from tutelage.process import best_device
from tutelage.records import Batch, Example, ExampleGroup, Schema, Stream
from tutelage.train.kernels import compile_blocks, use_float8, use_varlen_attention
from tutelage.train.loop import Precision, StepReport, train
from tutelage.train.losses import CROSS_ENTROPY, Loss
from tutelage.train.optimizers import Optimizer, OptimizerSettings
from tutelage.train.policy_losses import ADVANTAGE, OLD, RESPONSE, SAMPLED, PolicyOptions, policy_loss
from tutelage.train.preference_losses import REFERENCE, LossOptions, pair_loss

WARM, SECONDS, LIMIT = 2, 30.0, 720.0


@dataclass(frozen=True)
class Size:
    """What is measured. `seconds` is the time of a part after warm-up; at least one step is measured."""

    model: ModelSettings
    vocab: int
    segment: int
    step_tokens: int
    micro_tokens: int
    rows: int
    answer: int
    seconds: float
    checkpointing: bool = True


WHOLE = Size(
    ModelSettings(depth=16, width=2048, heads=32, kv_heads=8, mlp_width=8192, context=4096, tied=False),
    vocab=32768, segment=4096, step_tokens=65536, micro_tokens=16384, rows=64, answer=256, seconds=SECONDS,
)  # fmt: skip
DRY = Size(
    ModelSettings(depth=2, width=64, heads=4, kv_heads=2, context=128, tied=False),
    vocab=128, segment=64, step_tokens=256, micro_tokens=128, rows=4, answer=8, seconds=0.0,
)  # fmt: skip


KERNELS: Mapping[str, Callable[[Transformer], None]] = {
    "float8": lambda model: use_float8(model, precision()),
    "varlen": lambda model: use_varlen_attention(model, precision()),
    "compile": compile_blocks,
}


def make(size: Size, *kernels: str) -> Transformer:
    model = initialise(Transformer(resolve(size.model, size.vocab)), seed=0).to(best_device())
    model.activation_checkpointing = size.checkpointing
    for name in kernels:
        KERNELS[name](model)
    return model


def synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def precision() -> Precision:
    return "bfloat16" if torch.cuda.is_available() else "float32"


class _Enough(Exception):
    """The time of a part is over."""


def train_for(size: Size, model: Transformer, batches: list[Batch], loss: Loss) -> tuple[int, float]:
    """Steps on the same batches and their seconds, after warm-up."""
    stamps: list[float] = []

    def stamp(report: StepReport) -> None:
        synchronise()
        stamps.append(time.perf_counter())
        if len(stamps) > WARM and stamps[-1] - stamps[WARM - 1] >= size.seconds:
            raise _Enough

    optimizer = Optimizer(model, OptimizerSettings(), 1e-6)
    steps: Iterator[tuple[list[Batch], None]] = repeat((batches, None))
    with suppress(_Enough):
        train(
            model, optimizer, steps, loss, start=0, steps=100_000, lr=lambda step: 1.0, hooks=[stamp],
            precision=precision(),
        )  # fmt: skip
    return len(stamps) - WARM, stamps[-1] - stamps[WARM - 1]


def lengths(size: Size, mean: float) -> list[int]:
    """Log-normal lengths of the segments of a step."""
    random, found = np.random.default_rng(0), []
    while sum(found) < size.step_tokens:
        found.append(int(np.clip(random.lognormal(np.log(mean), 0.7), 8, size.segment)))
    return found


def tokens_of(random: np.random.Generator, size: Size, length: int) -> np.ndarray:
    return random.integers(0, size.vocab, length).astype(np.int32)


def training_result(
    size: Size, model: Transformer, batches: list[Batch], measured: tuple[int, float], part: Part | None
) -> dict[str, Any]:
    """Tokens per second and MFU; FLOPs are those of each segment's own length."""
    steps, seconds = measured
    config, per_step = model.config, sum(len(batch.tokens_N) for batch in batches)
    flops = sum(flops_per_token(config, length) * length for batch in batches for length in batch.lengths)
    result = {"tokens_per_second": steps * per_step / seconds, "steps": steps, "seconds": seconds}
    if part is not None:
        result["mfu"] = steps * flops / seconds / part.flops
    return result


def pretrain(size: Size, part: Part | None, *kernels: str) -> dict[str, Any]:
    """Whole segments of the context, every token trained."""
    random, model = np.random.default_rng(0), make(size, *kernels)
    groups: list[ExampleGroup] = [
        (Example(tokens_of(random, size, size.segment)),) for _ in range(size.step_tokens // size.segment)
    ]
    batches = micro_batches(groups, size.micro_tokens)
    return training_result(size, model, batches, train_for(size, model, batches, CROSS_ENTROPY), part)


def sft(size: Size, part: Part | None, *kernels: str) -> dict[str, Any]:
    """Packed conversations of log-normal length, 40% of the tokens trained."""
    random, model, groups = np.random.default_rng(0), make(size, *kernels), []
    for length in lengths(size, size.segment / 8):
        weights = (np.arange(length) >= 0.6 * length).astype(np.float32)
        groups.append((Example(tokens_of(random, size, length), weights),))
    batches = micro_batches(groups, size.micro_tokens)
    return training_result(size, model, batches, train_for(size, model, batches, CROSS_ENTROPY), part)


def dpo(size: Size, part: Part | None) -> dict[str, Any]:
    """Pairs of log-normal length with a cached reference."""
    random, model, groups = np.random.default_rng(0), make(size), []
    for length in lengths(size, size.segment / 8)[::2]:
        sides = []
        for sign in (1.0, -1.0):
            weights = (np.arange(length) >= length // 2).astype(np.float32)
            reference = np.full(length, -np.log(size.vocab), np.float32)
            sides.append(Example(tokens_of(random, size, length), weights, None, {REFERENCE: reference}, {SIDE: sign}))
        groups.append(tuple(sides))
    schema = Schema({REFERENCE: Stream("float32")}, {SIDE: 0.0})
    batches = micro_batches(groups, max(size.micro_tokens, 2 * size.segment), schema=schema)
    measured = train_for(size, model, batches, pair_loss("sigmoid", LossOptions(0.1)))
    result = training_result(size, model, batches, measured, part)
    return {**result, "pairs_per_second": measured[0] * len(groups) / measured[1]}


def answers_per_second(model: Transformer, prompts: int, prompt_tokens: int, answer: int) -> float:
    """Tokens that are written per second by so many requests at once, prompts included; a first run warms up."""
    random = np.random.default_rng(0)
    rows = [random.integers(0, model.config.vocab, prompt_tokens) for _ in range(prompts)]
    seconds = 0.0
    for count in (2, answer):
        engine = Engine(model, EngineSettings(max_rows=prompts, prefix_cache="prompts"))
        settings = SamplingSettings(temperature=1.0, max_tokens=count)
        synchronise()
        began = time.perf_counter()
        for number, row in enumerate(rows):
            engine.add(row, frozenset(), settings, number)
        engine.run()
        synchronise()
        seconds = time.perf_counter() - began
    return prompts * answer / seconds


def for_inference(size: Size) -> Transformer:
    return make(size).to(torch.bfloat16 if torch.cuda.is_available() else torch.float32)


def decode(size: Size, part: Part | None) -> dict[str, Any]:
    """One request alone, beside the bound that reading every weight once a token sets."""
    model = for_inference(size)
    result = {"tokens_per_second": answers_per_second(model, 1, size.segment // 8, size.answer)}
    if part is not None:
        result["share_of_bandwidth_bound"] = (
            result["tokens_per_second"] * 2 * parameter_count(model.config) / part.bandwidth
        )
    return result


def serve(size: Size, part: Part | None) -> dict[str, Any]:
    """Many requests at once in one engine, without HTTP."""
    return {"tokens_per_second": answers_per_second(for_inference(size), size.rows, size.segment // 8, size.answer)}


def grpo(size: Size, part: Part | None) -> dict[str, Any]:
    """A rollout of `rows` samples and an optimizer step on it: the times of both, and samples per second."""
    random, sampler = np.random.default_rng(0), for_inference(size)
    prompt = size.segment // 8
    rollout = size.rows * size.answer / answers_per_second(sampler, size.rows, prompt, size.answer)
    del sampler
    model, groups = make(size), []
    for _ in range(size.rows):
        length = prompt + size.answer
        weights = (np.arange(length) >= prompt).astype(np.float32)
        columns = {name: np.full(length, -np.log(size.vocab), np.float32) for name in (SAMPLED, OLD, REFERENCE)}
        columns[ADVANTAGE] = random.normal(0, 1, length).astype(np.float32)
        groups.append((Example(tokens_of(random, size, length), weights, None, columns, {RESPONSE: 1.0}),))
    schema = Schema({name: Stream("float32") for name in (SAMPLED, OLD, REFERENCE, ADVANTAGE)}, {RESPONSE: 0.0})
    batches = micro_batches(groups, max(size.micro_tokens, prompt + size.answer), schema=schema)
    steps, seconds = train_for(size, model, batches, policy_loss(PolicyOptions()))
    step = seconds / steps
    return {"rollout_seconds": rollout, "step_seconds": step, "samples_per_second": size.rows / (rollout + step)}


def with_kernels(measure: Callable[..., dict[str, Any]], name: str, size: Size, part: Part | None) -> dict[str, Any]:
    """A part with other kernels; "refused", with the reason, where they do not work here."""
    try:
        return measure(size, part, *name.split("+")[1:])
    except ValueError as error:
        return {"refused": str(error)}


MEASURES: Mapping[str, Callable[[Size, Part | None], dict[str, Any]]] = {
    "pretrain": pretrain, "sft": sft, "decode": decode, "serve": serve, "dpo": dpo, "grpo": grpo,
    **{
        name: partial(with_kernels, pretrain if name.startswith("pretrain") else sft, name)
        for name in ("pretrain+compile", "pretrain+float8+compile", "sft+varlen", "sft+compile", "sft+varlen+compile")
    },
}  # fmt: skip


def find_part() -> Part | None:
    """The accelerator's data sheet; None on a CPU, or where the part is not in the table."""
    if not torch.cuda.is_available():
        return None
    name = torch.cuda.get_device_name().lower().replace(" ", "-")
    keys = sorted((key for key in PARTS if all(word in name for word in key.split("-"))), key=len)
    return PARTS[keys[-1]] if keys else None


def describe(config: ModelConfig, part: Part | None) -> dict[str, Any]:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    peak = None if part is None else part.flops
    return {"device": device, "peak": peak, "parameters": parameter_count(config), "torch": torch.__version__}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="10 seconds a part")
    parser.add_argument("--dry-run", action="store_true", help="a tiny model on any device; its figures mean nothing")
    parser.add_argument("--only", default=",".join(MEASURES), help="parts, separated by commas")
    arguments = parser.parse_args()
    names = arguments.only.split(",")
    if unknown := set(names) - set(MEASURES):
        sys.exit(f"there is no part {min(unknown)!r}; choose of {', '.join(MEASURES)}")
    if not arguments.dry_run and not torch.cuda.is_available():
        sys.exit("there is no CUDA GPU here; --dry-run tests the script on a CPU")
    size = DRY if arguments.dry_run else WHOLE
    if arguments.quick:
        size = Size(**{**size.__dict__, "seconds": min(size.seconds, 10.0)})
    part, began = find_part(), time.monotonic()
    results: dict[str, Any] = describe(resolve(size.model, size.vocab), part)
    for name in names:
        if time.monotonic() - began > LIMIT - 2 * size.seconds:
            results[name] = {"skipped": f"less than {2 * size.seconds:.0f} s of {LIMIT:.0f} s left"}
            continue
        results[name] = MEASURES[name](size, part)
        print(json.dumps({name: results[name]}), flush=True)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    print(json.dumps({"name": "gpu", "dry_run": arguments.dry_run, **results}))


if __name__ == "__main__":
    main()
