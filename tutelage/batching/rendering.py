"""Conversations rendered by several processes at once, in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np

from tutelage.chat import Rendered, Renderer, TrainOn
from tutelage.io.batches import batches
from tutelage.process import cores
from tutelage.records import Conversation
from tutelage.workers import parallel_map

ROWS_AT_ONCE = 256  # enough to keep a tokenizer busy, few enough to hold in memory
CHUNKS_FOR_WORKERS = 16  # fewer are rendered before another process has started

Made = list[Rendered] | ValueError
# Of each row how many examples it has, or its error; the lengths of the examples; and each of their columns laid end to
# end, for many small arrays would take longer to send than to make.
Packed = tuple[list[int | ValueError], list[int], list[np.ndarray]]


def render_all(
    conversations: Iterable[Conversation], renderer: Renderer, train_on: TrainOn, processes: int | None = None
) -> Iterator[tuple[Conversation, Made]]:
    """Each conversation with what `renderer.render_rows` makes of it, in order, without spans.

    processes: how many render; None: one for each core that may be used, and this one alone where there are few rows.

    Raises:
        whatever the renderer raises, as it was raised in the worker.
    """
    rows = iter(conversations)
    first = list(islice(rows, CHUNKS_FOR_WORKERS * ROWS_AT_ONCE))
    enough = len(first) == CHUNKS_FOR_WORKERS * ROWS_AT_ONCE
    workers = processes or (cores() if enough else 1)
    some = batches(chain(first, rows), ROWS_AT_ONCE)
    if workers == 1:
        for chunk in some:
            yield from zip(chunk, renderer.render_rows(chunk, train_on), strict=True)
        return
    for chunk, packed in parallel_map(_RenderChunk(renderer, train_on), some, workers, in_order=True):
        yield from zip(chunk, _unpacked(*packed), strict=True)


@dataclass(frozen=True)
class _RenderChunk:
    renderer: Renderer
    train_on: TrainOn

    def __call__(self, chunk: list[Conversation]) -> Packed:
        return _packed(self.renderer.render_rows(chunk, self.train_on))


def _packed(rows: Sequence[Made]) -> Packed:
    examples = [one for made in rows if not isinstance(made, ValueError) for one in made]
    counts = [made if isinstance(made, ValueError) else len(made) for made in rows]
    columns = ([one.ids for one in examples], [one.weights for one in examples], [one.roles for one in examples])
    joined = [np.concatenate(column) if column else np.zeros(0, np.uint8) for column in columns]
    return counts, [len(one.ids) for one in examples], joined


def _unpacked(counts: list[int | ValueError], lengths: list[int], columns: list[np.ndarray]) -> list[Made]:
    ends = np.cumsum(lengths).tolist()
    cuts = (slice(end - length, end) for end, length in zip(ends, lengths, strict=True))
    examples = (Rendered(*(column[cut] for column in columns)) for cut in cuts)
    return [count if isinstance(count, ValueError) else list(islice(examples, count)) for count in counts]
