"""Example groups to batches: which groups share a forward pass, and how their examples are laid end to end.

Shape suffixes as in records: N tokens of a batch, S segments, P positions with a loss weight, G groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch

from tutelage.records import Batch, Example, ExampleGroup, Schema, Stream

# Reads one token and trains nothing: keeps a process in step when there are fewer micro-batches than processes.
PADDING: ExampleGroup = (Example(tokens=np.zeros(1, np.int32), weights=np.zeros(1, np.float32)),)


# Where more than this share of the positions is left, computing shared prefixes once is not worth moving them.
LEAST_SHARED = 0.95


def padding_batch(schema: Schema) -> Batch:
    """A batch without data that has every stream and scalar of `schema`, so that any loss can read it."""
    return replace(collate([PADDING], schema), padding=True)


def pack(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Spread groups over as few rows as best-fit-decreasing finds, none longer than `capacity` tokens, none split.

    Returns the groups of each row in ascending order. Best-fit-decreasing needs at most 11/9 of the fewest rows
    possible (Johnson 1974).
    """
    order = np.argsort(-np.asarray(lengths), kind="stable")
    rows: list[list[int]] = []
    room: list[int] = []
    for group in order.tolist():
        length = lengths[group]
        assert length <= capacity, "a group longer than a row must be refused before it is packed"
        fitting = [(left, row) for row, left in enumerate(room) if left >= length]
        if fitting:
            _, row = min(fitting)
        else:
            row = len(rows)
            rows.append([])
            room.append(capacity)
        rows[row].append(group)
        room[row] -= length
    return [sorted(row) for row in rows]


def schema_of(examples: Sequence[Example]) -> Schema:
    """What some examples carry, with 0 as every fill value."""
    streams = {name: Stream(str(column.dtype)) for example in examples for name, column in example.streams.items()}
    return Schema(streams, dict.fromkeys(sorted({name for example in examples for name in example.scalars}), 0.0))


def collate(groups: Sequence[ExampleGroup], schema: Schema | None = None, share: bool = False) -> Batch:
    """Lay the examples of some groups end to end. The shift by one, from a token to what the position before it must
    predict, happens here, and for tokens further ahead in `tokens_ahead`: tokens [a b c] become labels [b c 0], and
    streams move with the labels.

    Every stream and scalar of `schema` is in the batch, with its fill value where an example lacks it or a position has
    no label. Without a schema it is what the examples carry.

    share: look for prefixes that segments share, so that a model may compute them once.
    """
    examples = [example for group in groups for example in group]
    schema = schema_of(examples) if schema is None else schema
    assert all(example.streams.keys() <= schema.streams.keys() for example in examples), "undeclared stream"
    assert all(example.scalars.keys() <= schema.scalars.keys() for example in examples), "undeclared scalar"
    lengths = tuple(len(example.tokens) for example in examples)
    total = sum(lengths)
    tokens_N, labels_N = np.empty(total, np.int64), np.zeros(total, np.int64)
    weights_N, positions_N = np.zeros(total, np.float32), np.empty(total, np.int64)
    streams = {name: np.full(total, stream.fill, stream.dtype) for name, stream in schema.streams.items()}
    start = 0
    for example, length in zip(examples, lengths, strict=True):
        shift = _shift(example)
        labels = example.tokens if example.targets is None else example.targets
        here = slice(start, start + length - shift)
        tokens_N[start : start + length] = example.tokens
        positions_N[start : start + length] = np.arange(length)
        labels_N[here] = labels[shift:]
        weights_N[here] = 1.0 if example.weights is None else example.weights[shift:]
        for name, column in example.streams.items():
            streams[name][here] = column[shift:]
        start += length
    unique_C, copy_N = shared_prefixes([example.tokens for example in examples]) if share else (None, None)
    group_of_segment = [index for index, group in enumerate(groups) for _ in group]
    return Batch(
        tokens_N=torch.from_numpy(tokens_N),
        labels_N=torch.from_numpy(labels_N),
        weights_N=torch.from_numpy(weights_N),
        positions_N=torch.from_numpy(positions_N),
        lengths=lengths,
        groups_S=torch.tensor(group_of_segment, dtype=torch.int64),
        streams={name: torch.from_numpy(column) for name, column in streams.items()},
        scalars={
            name: torch.tensor([example.scalars.get(name, fill) for example in examples])
            for name, fill in schema.scalars.items()
        },
        count=float(weights_N.sum(dtype=np.float64)),
        shifts=tuple(map(_shift, examples)),
        unique_C=unique_C,
        copy_N=copy_N,
    )


class TokensAhead(NamedTuple):
    """What multi-token prediction reads and predicts at each position, [N]: the token so many positions ahead, the
    label that is as far ahead, and its loss weight, which is 0 past the end of a segment."""

    tokens_N: torch.Tensor
    labels_N: torch.Tensor
    weights_N: torch.Tensor


def tokens_ahead(batch: Batch, ahead: int) -> TokensAhead:
    """Tokens, labels and weights `ahead` positions later within each segment. One position ahead, tokens [a b c] with
    labels [b c 0] are tokens [b c 0] with labels [c 0 0]."""
    lengths_S = torch.tensor(batch.lengths, device=batch.tokens_N.device)
    inside_N = batch.positions_N + ahead < lengths_S.repeat_interleave(lengths_S)
    later = (values_N.roll(-ahead) * inside_N for values_N in (batch.tokens_N, batch.labels_N, batch.weights_N))
    return TokensAhead(*later)


def shared_prefixes(rows: Sequence[np.ndarray]) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Which positions of segments laid end to end must be computed, [C], and the place among these of every position,
    [N], where a model is causal within segments: a prefix that several share is computed once, in the first of them.
    None, None where that saves too little."""
    lengths = [len(row) for row in rows]
    starts, total = np.cumsum([0, *lengths]), sum(lengths)
    source_N = np.arange(total)  # the position that is computed in its place
    order = sorted(range(len(rows)), key=lambda place: rows[place].astype(">i4").tobytes())
    for before, place in pairwise(order):  # rows with a common prefix are neighbours
        size = min(lengths[before], lengths[place])
        differ = np.flatnonzero(rows[before][:size] != rows[place][:size])
        shared = int(differ[0]) if len(differ) else size
        source_N[starts[place] : starts[place] + shared] = source_N[starts[before] : starts[before] + shared]
    unique_C = np.unique(source_N)
    if len(unique_C) > LEAST_SHARED * total:
        return None, None
    return torch.from_numpy(unique_C), torch.from_numpy(np.searchsorted(unique_C, source_N))


def _shift(example: Example) -> int:
    return 1 if example.targets is None else 0


def uncollate(batch: Batch, values_N: np.ndarray, fill: float = 0) -> list[np.ndarray]:
    """Values at the positions of a batch, [N], as one column per example, [T]: the inverse of the shift in `collate`.

    A position's value belongs to the token that it predicts. With labels [b c 0] for tokens [a b c], values [1 2 3]
    become the column [fill 1 2].
    """
    columns, start = [], 0
    for length, shift in zip(batch.lengths, batch.shifts, strict=True):
        column = np.full(length, fill, values_N.dtype)
        column[shift:] = values_N[start : start + length - shift]
        columns.append(column)
        start += length
    return columns


def segment_sum(values_P: torch.Tensor, batch: Batch) -> torch.Tensor:
    """The sum over each segment, [S], of values at the positions with a loss weight, [P]."""
    segment_N = torch.repeat_interleave(torch.tensor(batch.lengths, device=values_P.device))
    sums_S = values_P.new_zeros(len(batch.lengths))
    return sums_S.index_add(0, segment_N[batch.weights_N != 0], values_P)


def group_sum(values_S: torch.Tensor, batch: Batch) -> torch.Tensor:
    """The sum over each example group, [G], of values of its segments, [S]."""
    groups = int(batch.groups_S[-1]) + 1
    return values_S.new_zeros(groups).index_add(0, batch.groups_S, values_S)


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The same batch with its tensors on `device`."""
    if device.type == "cpu":
        return batch

    def moved(value: object) -> object:
        if isinstance(value, torch.Tensor):
            return value.to(device, non_blocking=True)
        return {name: moved(tensor) for name, tensor in value.items()} if isinstance(value, dict) else value

    return replace(batch, **{field.name: moved(getattr(batch, field.name)) for field in fields(batch)})  # type: ignore[arg-type]
