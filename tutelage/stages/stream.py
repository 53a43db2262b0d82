"""What a stage hands to the training loop as data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from tutelage.batching.loader import DataState
from tutelage.model.transformer import Transformer
from tutelage.records import Batch

StepBatches = Iterator[tuple[list[Batch], DataState]]
Live = Callable[[], Transformer]


@dataclass(frozen=True)
class DataStream:
    """A stage's training data, step by step. Its state is a JSON value that only the stream reads.

    names:    the datasets, in the order of the scalar "dataset".
    longest:  tokens of the longest example group.
    steps:    how many steps there are, and `step_tokens` the tokens of one, at most.
    batch_tokens: the same of each step, where it changes.
    batches:  (state, endless) -> the micro-batches of this process and the state after them, from a state or, with
              None, from the start; endless streams do not stop after the last epoch.
    epoch:    the epoch of the first dataset that a state is in.
    describe: what stage.json says of the data, given the state after the last step.
    attach:   gets a function that gives the whole model as it is at a step, for streams that read live weights. What
              depends on weights is never made before the step that needs it.
    figures:  what the log says of the data of the last step.
    saving:   around the writing of a checkpoint with this state: writes the state's large parts before, and removes
              those of older checkpoints after.
    """

    names: tuple[str, ...]
    longest: int
    steps: int
    step_tokens: int
    batches: Callable[[DataState, bool], StepBatches]
    epoch: Callable[[DataState], int]
    describe: Callable[[DataState], dict[str, Any]]
    batch_tokens: Sequence[int] | None = None
    attach: Callable[[Live], None] = lambda live: None
    figures: Callable[[], dict[str, Any]] = dict
    saving: Callable[[DataState], AbstractContextManager[None]] = lambda state: nullcontext()
