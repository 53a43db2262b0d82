"""Groups to batches: which groups share a forward pass, and how their examples are laid end to end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from tutelage.records import Batch, Example, ExampleGroup

# Reads one token and trains nothing: keeps a process in step when there are fewer micro-batches than processes.
PADDING: ExampleGroup = (Example(tokens=np.zeros(1, np.int32), weights=np.zeros(1, np.float32)),)


def is_padding(batch: Batch) -> bool:
    """Whether a batch is there for its process to keep in step, and no part of the data."""
    return batch.lengths == (1,) and batch.count == 0


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


def collate(groups: Sequence[ExampleGroup]) -> Batch:
    """Lay the examples of some groups end to end. The shift by one, from a token to what the position before it must
    predict, happens here and nowhere else."""
    examples = [example for group in groups for example in group]
    lengths = tuple(len(example.tokens) for example in examples)
    total = sum(lengths)
    tokens_N, labels_N = np.empty(total, np.int64), np.zeros(total, np.int64)
    weights_N, positions_N = np.zeros(total, np.float32), np.empty(total, np.int64)
    streams = {name: np.zeros(total, column.dtype) for e in examples for name, column in e.streams.items()}
    start = 0
    for example, length in zip(examples, lengths, strict=True):
        shift = 0 if example.targets is not None else 1
        labels = example.tokens if example.targets is None else example.targets
        here = slice(start, start + length - shift)
        tokens_N[start : start + length] = example.tokens
        positions_N[start : start + length] = np.arange(length)
        labels_N[here] = labels[shift:]
        weights_N[here] = 1.0 if example.weights is None else example.weights[shift:]
        for name, column in example.streams.items():
            streams[name][here] = column[shift:]
        start += length
    unit_of_segment = [index for index, group in enumerate(groups) for _ in group]
    scalar_names = sorted({name for example in examples for name in example.scalars})
    return Batch(
        tokens_N=torch.from_numpy(tokens_N),
        labels_N=torch.from_numpy(labels_N),
        weights_N=torch.from_numpy(weights_N),
        positions_N=torch.from_numpy(positions_N),
        lengths=lengths,
        groups_S=torch.tensor(unit_of_segment, dtype=torch.int64),
        streams={name: torch.from_numpy(column) for name, column in streams.items()},
        scalars={name: torch.tensor([e.scalars.get(name, 0.0) for e in examples]) for name in scalar_names},
        count=float(weights_N.sum(dtype=np.float64)),
    )


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The same batch with its tensors on `device`."""
    if device.type == "cpu":
        return batch
    return Batch(
        tokens_N=batch.tokens_N.to(device, non_blocking=True),
        labels_N=batch.labels_N.to(device, non_blocking=True),
        weights_N=batch.weights_N.to(device, non_blocking=True),
        positions_N=batch.positions_N.to(device, non_blocking=True),
        lengths=batch.lengths,
        groups_S=batch.groups_S.to(device, non_blocking=True),
        streams={name: stream.to(device, non_blocking=True) for name, stream in batch.streams.items()},
        scalars={name: scalar.to(device, non_blocking=True) for name, scalar in batch.scalars.items()},
        count=batch.count,
    )
