"""Which example groups an optimizer step trains on, in what order, and in which micro-batches.

What a step holds depends on the seed, the datasets and the step size alone: not on how it is cut into micro-batches and
not on the number of processes. So gradients are the same however a step is cut, and a run resumes on another number of
processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import reduce
from itertools import islice
from operator import or_
from typing import Any, Literal

import numpy as np

from tutelage.batching.packing import collate, pack, padding_batch
from tutelage.batching.store import Store
from tutelage.records import Batch, ExampleGroup, Schema

# The state of a stream of training data: a JSON value that only the stream itself reads.
DataState = Any
Draw = list[tuple[str, int]]
# How the groups of a store are read: a new permutation every epoch, the shortest first, or as they were written.
Order = Literal["shuffled", "length", "written"]
# Tokens of a step, at most: one number, or by the trained tokens drawn before it.
BatchTokens = int | Callable[[float], int]
Change = Callable[[list[ExampleGroup], DataState], list[ExampleGroup]]


@dataclass(frozen=True)
class Cursor:
    """How far a dataset has been read: `position` groups into epoch `epoch`, `trained_tokens` loss weight drawn so
    far."""

    epoch: int = 0
    position: int = 0
    trained_tokens: float = 0.0


Cursors = Mapping[str, Cursor]


@dataclass(frozen=True)
class WeightedStore:
    """A store, its share of the trained tokens, and the order in which its groups are read."""

    store: Store
    share: float
    order: Order = "shuffled"


def draw_steps(
    datasets: Mapping[str, WeightedStore],
    batch_tokens: BatchTokens,
    seed: int,
    epochs: int | None,
    cursors: Cursors | None = None,
    batch_rows: int | None = None,
) -> Iterator[tuple[Draw, Cursors]]:
    """Yield, a step at a time, the (dataset, group) pairs it trains on and the cursors after it.

    Each next group comes from the dataset that lags most behind its share of trained tokens, until the step has
    `batch_rows` groups, or the next one would take it over `batch_tokens` tokens; so shares hold within every step to
    about one group, and the small debt is carried over. Every epoch of a shuffled dataset is a new permutation by
    (seed, epoch). The stream ends after `epochs` epochs of the first dataset, with a last step that may be short; never
    if `epochs` is None.
    """
    assert all(len(dataset.store) and dataset.share > 0 for dataset in datasets.values())
    at = dict(cursors) if cursors else {name: Cursor() for name in datasets}
    main = next(iter(datasets))
    orders = {name: _order(dataset, seed, at[name].epoch) for name, dataset in datasets.items()}
    while epochs is None or at[main].epoch < epochs:
        draw: Draw = []
        room = tokens_of_step(batch_tokens, at)
        while epochs is None or at[main].epoch < epochs:
            name = min(datasets, key=lambda n: at[n].trained_tokens / datasets[n].share)
            store, cursor = datasets[name].store, at[name]
            group = int(orders[name][cursor.position])
            tokens = int(store.tokens_G[group])
            if draw and (tokens > room or len(draw) == batch_rows):
                break
            draw.append((name, group))
            room -= tokens
            trained = cursor.trained_tokens + float(store.weight_G[group])
            if cursor.position + 1 < len(store):
                at[name] = Cursor(cursor.epoch, cursor.position + 1, trained)
            else:
                at[name] = Cursor(cursor.epoch + 1, 0, trained)
                orders[name] = _order(datasets[name], seed, cursor.epoch + 1)
        yield draw, dict(at)


def tokens_of_step(batch_tokens: BatchTokens, cursors: Cursors) -> int:
    """Tokens of the step after these cursors, at most. It depends on nothing but them, so a run that is resumed takes
    the steps of one that never stopped."""
    if isinstance(batch_tokens, int):
        return batch_tokens
    return batch_tokens(sum(cursor.trained_tokens for cursor in cursors.values()))


def batch_sizes(
    datasets: Mapping[str, WeightedStore], batch_tokens: BatchTokens, seed: int, epochs: int | None, steps: int
) -> list[int]:
    """Tokens of each step, at most, found by drawing the steps without reading a token."""
    cursors: Cursors = {name: Cursor() for name in datasets}
    sizes = []
    for _, after in islice(draw_steps(datasets, batch_tokens, seed, epochs), steps):
        sizes.append(tokens_of_step(batch_tokens, cursors))
        cursors = after
    return sizes


def _order(dataset: WeightedStore, seed: int, epoch: int) -> np.ndarray:
    groups = len(dataset.store)
    if dataset.order == "written":
        return np.arange(groups)
    if dataset.order == "length":
        return np.argsort(dataset.store.tokens_G, kind="stable")
    return np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(groups)


def count_steps(
    datasets: Mapping[str, WeightedStore],
    batch_tokens: BatchTokens,
    seed: int,
    epochs: int,
    batch_rows: int | None = None,
) -> int:
    """How many steps `epochs` epochs of the first dataset take, found by drawing them without reading a token."""
    return sum(1 for _ in draw_steps(datasets, batch_tokens, seed, epochs, batch_rows=batch_rows))


def micro_batches(
    groups: Sequence[ExampleGroup],
    micro_tokens: int,
    rank: int = 0,
    ranks: int = 1,
    schema: Schema | None = None,
    share: bool = False,
) -> list[Batch]:
    """The micro-batches of one step that this rank computes; every rank gets equally many. `schema` and `share` as in
    `collate`.

    Raises:
        ValueError: a group is longer than `micro_tokens`.
    """
    lengths = [sum(len(example.tokens) for example in group) for group in groups]
    if max(lengths) > micro_tokens:
        raise ValueError(
            f"an example group of {max(lengths)} tokens does not fit in a micro-batch of micro_tokens = "
            f"{micro_tokens}; raise micro_tokens to at least {max(lengths)}"
        )
    rows = [[groups[i] for i in row] for row in pack(lengths, micro_tokens)]
    mine = [collate(row, schema, share) for row in rows[rank::ranks]]
    if rank >= len(rows) % ranks > 0:
        mine.append(padding_batch(schema or Schema()))
    return mine


def batches(
    datasets: Mapping[str, WeightedStore],
    *,
    batch_tokens: BatchTokens,
    micro_tokens: int,
    seed: int,
    epochs: int | None = None,
    state: DataState = None,
    rank: int = 0,
    ranks: int = 1,
    batch_rows: int | None = None,
    share: bool = False,
    change: Change | None = None,
) -> Iterator[tuple[list[Batch], DataState]]:
    """Yield the micro-batches of each step for this rank, and the state to resume after it. `change` makes the groups
    that are trained on from those of the step and the state before it.

    Where there are several datasets each segment carries which one it is of, as the scalar "dataset": its place among
    `datasets`.
    """
    schema = step_schema(datasets)
    for groups, after in step_groups(datasets, batch_tokens, seed, epochs, state, batch_rows):
        groups, state = groups if change is None else change(groups, state), after
        yield micro_batches(groups, micro_tokens, rank, ranks, schema, share), after


def step_schema(datasets: Mapping[str, WeightedStore]) -> Schema:
    """What the examples of a step carry."""
    schema = reduce(or_, (dataset.store.schema for dataset in datasets.values()))
    return schema | Schema(scalars={"dataset": 0.0}) if len(datasets) > 1 else schema


def step_groups(
    datasets: Mapping[str, WeightedStore],
    batch_tokens: BatchTokens,
    seed: int,
    epochs: int | None,
    state: DataState,
    batch_rows: int | None = None,
) -> Iterator[tuple[list[ExampleGroup], DataState]]:
    """Yield the example groups of each step, all of them on every rank, and the state to resume after it."""
    place = {name: float(number) for number, name in enumerate(datasets)}
    for draw, after in draw_steps(datasets, batch_tokens, seed, epochs, read_cursors(state), batch_rows):
        groups = [datasets[name].store.group(index) for name, index in draw]
        if len(datasets) > 1:
            groups = [_of_dataset(group, place[name]) for group, (name, _) in zip(groups, draw, strict=True)]
        yield groups, write_cursors(after)


def _of_dataset(group: ExampleGroup, number: float) -> ExampleGroup:
    return tuple(replace(example, scalars={**example.scalars, "dataset": number}) for example in group)


def write_cursors(cursors: Cursors) -> DataState:
    """Cursors as a JSON value."""
    return {name: asdict(cursor) for name, cursor in cursors.items()}


def read_cursors(state: DataState) -> dict[str, Cursor]:
    """Cursors back from a JSON value; none from None."""
    return {name: Cursor(**cursor) for name, cursor in (state or {}).items()}
