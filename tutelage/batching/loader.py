"""Which groups an optimizer step trains on, in what order, and in which micro-batches.

What a step holds depends on the seed, the sources and the step size alone: not on how it is cut into micro-batches and
not on the number of processes. So gradients are the same however a step is cut, and a run resumes on another number of
processes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tutelage.batching.packing import PADDING, collate, pack
from tutelage.batching.store import Store
from tutelage.records import Batch, ExampleGroup


@dataclass(frozen=True)
class Cursor:
    """How far a source has been read: `position` groups into pass `epoch`, `trained` weight drawn so far."""

    epoch: int = 0
    position: int = 0
    trained_tokens: float = 0.0


State = Mapping[str, Cursor]
Draw = list[tuple[str, int]]


@dataclass(frozen=True)
class Source:
    """A store and its share of the trained tokens."""

    store: Store
    share: float


def draw_steps(
    sources: Mapping[str, Source], batch_tokens: int, seed: int, epochs: int | None, state: State | None = None
) -> Iterator[tuple[Draw, State]]:
    """Yield, a step at a time, the (source, group) pairs it trains on and the state after it.

    Each next group comes from the source that lags most behind its share of trained tokens, until the next one would
    take the step over `batch_tokens` tokens; so shares hold within every step to about one group, and the small debt is
    carried over. Every pass over a source is a new permutation by (seed, pass). The stream ends when the first source
    has been passed `epochs` times, with a last step that may be short; never if `epochs` is None.
    """
    assert all(len(source.store) and source.share > 0 for source in sources.values())
    cursors = dict(state) if state else {name: Cursor() for name in sources}
    main = next(iter(sources))
    orders = {name: _order(len(sources[name].store), seed, cursors[name].epoch) for name in sources}
    while epochs is None or cursors[main].epoch < epochs:
        draw: Draw = []
        room = batch_tokens
        while epochs is None or cursors[main].epoch < epochs:
            name = min(sources, key=lambda n: cursors[n].trained_tokens / sources[n].share)
            store, cursor = sources[name].store, cursors[name]
            group = int(orders[name][cursor.position])
            tokens = int(store.tokens_G[group])
            if draw and tokens > room:
                break
            draw.append((name, group))
            room -= tokens
            trained = cursor.trained_tokens + float(store.weight_G[group])
            if cursor.position + 1 < len(store):
                cursors[name] = Cursor(cursor.epoch, cursor.position + 1, trained)
            else:
                cursors[name] = Cursor(cursor.epoch + 1, 0, trained)
                orders[name] = _order(len(store), seed, cursor.epoch + 1)
        yield draw, dict(cursors)


def _order(groups: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(groups)


def count_steps(sources: Mapping[str, Source], batch_tokens: int, seed: int, epochs: int) -> int:
    """How many steps `epochs` passes over the first source take, found by drawing them without reading a token."""
    return sum(1 for _ in draw_steps(sources, batch_tokens, seed, epochs))


def micro_batches(groups: Sequence[ExampleGroup], micro_tokens: int, rank: int = 0, ranks: int = 1) -> list[Batch]:
    """The micro-batches of one step that this rank computes; every rank gets equally many.

    Raises:
        ValueError: a group is longer than `micro_tokens`.
    """
    lengths = [sum(len(example.tokens) for example in group) for group in groups]
    if max(lengths) > micro_tokens:
        raise ValueError(
            f"a group of {max(lengths)} tokens does not fit in a micro-batch of micro_tokens = {micro_tokens}; "
            f"raise micro_tokens to at least {max(lengths)}"
        )
    rows = [[groups[i] for i in row] for row in pack(lengths, micro_tokens)]
    while len(rows) % ranks:
        rows.append([PADDING])
    return [collate(row) for row in rows[rank::ranks]]


def batches(
    sources: Mapping[str, Source],
    *,
    batch_tokens: int,
    micro_tokens: int,
    seed: int,
    epochs: int | None = None,
    state: State | None = None,
    rank: int = 0,
    ranks: int = 1,
) -> Iterator[tuple[list[Batch], State]]:
    """Yield the micro-batches of each step for this rank, and the state to resume after it.

    Where there are several sources each segment carries which one it is of, as the scalar "source": its place among
    `sources`.
    """
    place = {name: float(number) for number, name in enumerate(sources)}
    for draw, after in draw_steps(sources, batch_tokens, seed, epochs, state):
        groups = [sources[name].store.group(index) for name, index in draw]
        if len(sources) > 1:
            groups = [_of_source(group, place[name]) for group, (name, _) in zip(groups, draw, strict=True)]
        yield micro_batches(groups, micro_tokens, rank, ranks), after


def _of_source(group: ExampleGroup, number: float) -> ExampleGroup:
    return tuple(replace(example, scalars={**example.scalars, "source": number}) for example in group)


def state_to_plain(state: State) -> dict[str, dict[str, float]]:
    """The state as JSON values."""
    return {
        name: {"epoch": c.epoch, "position": c.position, "trained_tokens": c.trained_tokens}
        for name, c in state.items()
    }


def state_from_plain(plain: Mapping[str, Mapping[str, float]]) -> dict[str, Cursor]:
    """The state back from JSON values."""
    return {n: Cursor(int(c["epoch"]), int(c["position"]), float(c["trained_tokens"])) for n, c in plain.items()}
