"""The coordinate check (Yang et al. 2022, arXiv 2203.03466, appendix D.1): do activations move by as much in wide
models as in narrow ones? Under muP they do; without, they move by more, so the best learning rate falls with the width.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import msgspec
import numpy as np
import torch

from tutelage.batching.packing import collate
from tutelage.model.sizes import ModelSettings, resolve
from tutelage.model.transformer import Transformer
from tutelage.records import Example
from tutelage.train.loop import train
from tutelage.train.losses import CROSS_ENTROPY
from tutelage.train.optimizers import Optimizer, OptimizerSettings
from tutelage.train.width import scaled_model

SEGMENTS, LENGTH, VOCAB = 4, 32, 64


def coordinate_check(
    settings: ModelSettings, widths: Sequence[int], optimizer: OptimizerSettings, lr: float, steps: int, seed: int = 0
) -> dict[int, dict[str, float]]:
    """By width: the RMS of the change, after `steps` steps on random tokens, of the residual stream after each block
    ("block.0", ...) and of the logits. Heads keep the size that they have at the first width."""
    head_size = resolve(msgspec.structs.replace(settings, width=widths[0]), VOCAB).head_size
    random = np.random.default_rng(seed)
    rows = [(Example(random.integers(0, VOCAB, LENGTH).astype(np.int32)),) for _ in range(SEGMENTS)]
    batch, changes = collate(rows), {}
    for width in widths:
        config = resolve(msgspec.structs.replace(settings, width=width, heads=width // head_size), VOCAB)
        model = scaled_model(config, seed, optimizer.base_width)
        before = _activations(model, batch.tokens_N, batch.positions_N, batch.lengths)
        trained = Optimizer(model, optimizer, lr)
        stream = iter([([batch], None)] * steps)
        train(model, trained, stream, CROSS_ENTROPY, start=0, steps=steps, lr=lambda step: 1.0)
        after = _activations(model, batch.tokens_N, batch.positions_N, batch.lengths)
        changes[width] = {name: float((after[name] - before[name]).square().mean().sqrt()) for name in before}
    return changes


@torch.no_grad()
def _activations(
    model: Transformer, tokens_N: torch.Tensor, positions_N: torch.Tensor, lengths: tuple[int, ...]
) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}

    def keep(name: str, module: torch.nn.Module, inputs: object, output: tuple[torch.Tensor, object]) -> None:
        found[name] = output[0]

    hooks = [block.register_forward_hook(partial(keep, f"block.{number}")) for number, block in enumerate(model.blocks)]
    hidden_ND = model.hidden(tokens_N, positions_N, model.within_segments(lengths))
    for hook in hooks:
        hook.remove()
    return {**found, "logits": model.logits(hidden_ND)}
