"""How long an optimizer step takes on this machine: a few real steps of two shallow copies of a model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import repeat

import msgspec
import numpy as np

from tutelage.batching.loader import micro_batches
from tutelage.model.sizes import ModelConfig
from tutelage.model.transformer import Transformer
from tutelage.process import best_device
from tutelage.records import Batch, Example
from tutelage.train.loop import Precision, StepReport, train
from tutelage.train.losses import CROSS_ENTROPY
from tutelage.train.optimizers import Optimizer, OptimizerSettings

DEPTHS = (1, 3)  # of the copies; the blocks of a model are alike, so its time is linear in their number
STEPS = 4  # the first also pays for what is done once


def shallow(config: ModelConfig, depth: int) -> ModelConfig:
    """The config with its first `depth` blocks only."""
    layers = {
        name: tuple(layer for layer in getattr(config, name) if layer < depth) for name in ("unrotated", "windowed")
    }
    return msgspec.structs.replace(config, depth=depth, **layers)


def step_seconds(
    config: ModelConfig,
    prepare: Callable[[Transformer], None],
    optimizer: OptimizerSettings,
    lengths: Sequence[int],
    trained: float,
    micro_tokens: int,
    precision: Precision,
) -> float:
    """Seconds of an optimizer step on one process.

    prepare: changes a copy as training would, such as adding LoRA.
    lengths: tokens of the segments of a step, and `trained` the share of them that has a loss weight.
    """
    times = [
        _measure(shallow(config, depth), prepare, optimizer, lengths, trained, micro_tokens, precision)
        for depth in DEPTHS
    ]
    per_block = max(0.0, times[1] - times[0]) / (DEPTHS[1] - DEPTHS[0])
    return times[0] + per_block * (config.depth - DEPTHS[0])


def _measure(
    config: ModelConfig,
    prepare: Callable[[Transformer], None],
    optimizer: OptimizerSettings,
    lengths: Sequence[int],
    trained: float,
    micro_tokens: int,
    precision: Precision,
) -> float:
    model = Transformer(config)
    prepare(model)
    model.to(best_device())
    model.reset_rotations()
    groups = [(_segment(length, trained),) for length in lengths]
    micro = micro_batches(groups, max(micro_tokens, *lengths))
    stream: Iterator[tuple[list[Batch], None]] = repeat((micro, None))
    ends: list[float] = [time.perf_counter()]

    def stop_watch(report: StepReport) -> None:
        ends.append(time.perf_counter())

    train(
        model, Optimizer(model, optimizer, 1e-6), stream, CROSS_ENTROPY, start=0, steps=STEPS, lr=lambda step: 1.0,
        hooks=[stop_watch], precision=precision,
    )  # fmt: skip
    return float(np.diff(ends)[1:].min())


def _segment(length: int, trained: float) -> Example:
    weights = np.zeros(length, np.float32)
    weights[-max(1, round(trained * length)) :] = 1.0
    return Example(np.zeros(length, np.int32), weights)
