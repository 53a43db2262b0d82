"""Forward passes over samples, outside of training: what a model says of each of their tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from tutelage.batching.packing import collate, pack, to_device, uncollate
from tutelage.model.transformer import Transformer
from tutelage.records import ROLE_STREAM, Batch, Example, Schema
from tutelage.train.distributed import all_gather_object, rank, world_size
from tutelage.train.loop import Precision

Columns = Mapping[str, np.ndarray]
# (a model and a batch) -> columns [N] of the tokens that the positions predict.
Pass = Callable[[Transformer, Batch], Mapping[str, torch.Tensor]]


def columns_of(
    passes: Sequence[tuple[Transformer, Pass]],
    examples: Sequence[Example],
    scalars: Mapping[str, float],
    micro_tokens: int,
    precision: Precision,
) -> list[Columns]:
    """The columns of each example's trained tokens, from all passes; each process computes its share."""
    mine = list(examples)[rank() :: world_size()]
    columns: list[dict[str, list[float]]] = [{} for _ in mine]
    for model, read in passes:
        for place, found in enumerate(_run(model, read, mine, scalars, micro_tokens, precision)):
            columns[place] |= found
    parts = all_gather_object(columns) if world_size() > 1 else [columns]
    ordered = [parts[place % world_size()][place // world_size()] for place in range(len(examples))]
    return [{name: np.array(values) for name, values in one.items()} for one in ordered]


@torch.no_grad()
def _run(
    model: Transformer,
    read: Pass,
    examples: Sequence[Example],
    scalars: Mapping[str, float],
    micro_tokens: int,
    precision: Precision,
) -> list[dict[str, list[float]]]:
    found: list[dict[str, list[float]]] = [{} for _ in examples]
    lengths = [len(example.tokens) for example in examples]
    device = model.embedding.weight.device
    schema = ROLE_STREAM | Schema(scalars=scalars)
    for row in pack(lengths, micro_tokens) if lengths else []:
        batch = collate([(examples[i],) for i in row], schema, share=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            values = read(model, to_device(batch, device))
        for name, values_N in values.items():
            for i, column in zip(row, uncollate(batch, values_N.float().cpu().numpy()), strict=True):
                found[i][name] = column[np.asarray(examples[i].weights) > 0].tolist()
    return found


def logprob_pass(name: str) -> Pass:
    """A pass that reads the model's log-probabilities, at the temperature of each sample."""

    def read(model: Transformer, batch: Batch) -> dict[str, torch.Tensor]:
        return {name: at_positions(model(batch), batch)}

    return read


def at_positions(values_P: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Values at the positions with a loss weight, [P], as values at all positions, [N]."""
    values_N = values_P.new_zeros(len(batch.tokens_N))
    values_N[batch.weights_N != 0] = values_P
    return values_N
