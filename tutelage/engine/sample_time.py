"""How long sampling takes on this machine: a few tokens of two shallow copies of a model."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from tutelage.engine.engine import Engine, EngineSettings
from tutelage.engine.sampling import SamplingSettings
from tutelage.model.sizes import ModelConfig
from tutelage.model.transformer import Transformer
from tutelage.process import best_device
from tutelage.train.step_time import DEPTHS, shallow

FEW, MORE = 2, 10  # tokens of the two measurements, whose difference is that of writing alone
ROWS = 256  # of the engine at once


def sample_seconds(
    config: ModelConfig, prepare: Callable[[Transformer], None], samples: int, prompt_tokens: int, max_tokens: int
) -> float:
    """Seconds for so many samples of `max_tokens` tokens each, written together.

    prepare: changes a copy as training would, such as adding LoRA.
    """
    rows = min(samples, ROWS)
    room = max(1, config.context - MORE - 1)
    # As long as an answer is on average while it is written: attention reads all of it.
    length = min(room, prompt_tokens + max_tokens // 2)
    times = [_measure(shallow(config, depth), prepare, rows, length) for depth in DEPTHS]
    first, token = (
        times[0][kind] + (times[1][kind] - times[0][kind]) / (DEPTHS[1] - DEPTHS[0]) * (config.depth - DEPTHS[0])
        for kind in range(2)
    )
    return samples / rows * max(0.0, first + token * max_tokens)


def _measure(
    config: ModelConfig, prepare: Callable[[Transformer], None], rows: int, length: int
) -> tuple[float, float]:
    """Seconds before the first token and of each token, of `rows` prompts of this length."""
    model = Transformer(config)
    prepare(model)
    model.to(best_device())
    model.reset_rotations()
    seconds = []
    for count in (FEW, FEW, MORE):  # the first also pays for what is done once
        engine = Engine(model, EngineSettings(max_rows=rows, prefix_cache="prompts"))
        settings = SamplingSettings(temperature=1.0, max_tokens=count)
        began = time.perf_counter()
        for row in range(rows):
            engine.add(np.full(length, row % config.vocab), frozenset(), settings, row)
        engine.run()
        seconds.append(time.perf_counter() - began)
    token = max(0.0, seconds[2] - seconds[1]) / (MORE - FEW)
    return max(0.0, seconds[1] - FEW * token), token
