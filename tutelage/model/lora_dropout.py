"""Dropout before LoRA matrices that is a function of its place, not of a random state.

What is dropped follows from the seed, the optimizer step, the layer, and a token with everything before it in its
segment. So it does not depend on micro-batches or processes, and a run that was killed resumes bit for bit.

Shape suffixes: N tokens laid end to end, I inputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import nn

from tutelage.records import Batch

T = TypeVar("T")
_BITS = 0xFFFFFFFF


def _mixed(x: torch.Tensor) -> torch.Tensor:
    """A hash of 32-bit numbers in int64 (Wellons 2018, "lowbias32")."""
    x = x & _BITS
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & _BITS
    x = ((x ^ (x >> 15)) * 0x846CA68B) & _BITS
    return x ^ (x >> 16)


@dataclass(eq=False)
class LoraDropout:
    """The dropout of all pairs of a model. `begin` is called before each forward pass, `step` set before each step."""

    share: float
    seed: int
    step: int = 0
    keys_N: torch.Tensor | None = None

    def begin(self, model: nn.Module, arguments: tuple[Any, ...]) -> None:
        """A forward pre-hook of the model: a key for every token of the batch."""
        batch = arguments[0]
        assert isinstance(batch, Batch)
        own_N = _mixed(batch.tokens_N * 0x9E3779B1 + batch.positions_N)
        total_N, lengths_S = own_N.cumsum(0), torch.tensor(batch.lengths, device=own_N.device)
        before_S = torch.cat([total_N.new_zeros(1), total_N[lengths_S.cumsum(0)[:-1] - 1]])
        self.keys_N = _mixed(total_N - before_S.repeat_interleave(lengths_S) + self.seed * 0x85EBCA6B + self.step)

    def __call__(self, x_NI: torch.Tensor, layer: int) -> torch.Tensor:
        """Inputs with `share` of them zero and the others scaled up, as in training; unchanged where no gradient is
        wanted."""
        keys_N = self.keys_N
        if keys_N is None or not torch.is_grad_enabled():
            return x_NI
        if len(x_NI) > len(keys_N):  # padding at the end of a batch
            keys_N = torch.cat([keys_N, keys_N.new_zeros(len(x_NI) - len(keys_N))])
        columns_I = _mixed(torch.arange(x_NI.shape[1], device=x_NI.device) + (layer + 1) * 0x9E3779B1)
        kept_NI = _mixed(keys_N[:, None] ^ columns_I) >= self.share * (_BITS + 1)
        return x_NI * kept_NI / (1 - self.share)


def count_steps(dropout: LoraDropout, stream: Iterator[T], start: int) -> Iterator[T]:
    """The stream of steps, each of which sets the dropout's step."""
    for step, item in enumerate(stream, start):
        dropout.step = step
        yield item
