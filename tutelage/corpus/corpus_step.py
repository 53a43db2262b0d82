"""Global steps: steps that need all documents before they can decide on one, such as deduplication or the best tenth.

A global step has three parts. `collect` computes a few numbers per document, in the worker that holds the shard. Once
all shards are collected, `decide` sees the numbers of the whole corpus, without texts, and writes the decisions.
`apply` is an ordinary step that also gets the decisions on its documents.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from tutelage.corpus.batch import DocumentBatch

Columns = Mapping[str, np.ndarray]
EXAMPLE_CLUSTERS, EXAMPLE_MEMBERS = 5, 3
_COLUMN = ".column"


class ColumnWriter:
    """Writes the collected columns of a shard to disk. Those of long texts would not fit into memory."""

    def __init__(self, folder: Path, files: ExitStack) -> None:
        self._folder, self._files = folder, files
        self._open: dict[str, BinaryIO] = {}

    def write(self, columns: Columns) -> None:
        """Append the columns of a batch."""
        for name, values in columns.items():
            if name not in self._open:
                path = self._folder / f"{name}.{values.dtype.name}{_COLUMN}"
                self._open[name] = self._files.enter_context(path.open("wb"))
            self._open[name].write(np.ascontiguousarray(values).data)


def read_columns(folder: Path) -> Columns:
    """The columns that a `ColumnWriter` wrote to a folder, memory-mapped."""
    columns = {}
    for path in sorted(folder.glob(f"*{_COLUMN}")):
        name, dtype = path.name.removesuffix(_COLUMN).rsplit(".", 1)
        # An empty file cannot be mapped.
        columns[name] = np.memmap(path, dtype, "r") if path.stat().st_size else np.empty(0, dtype)
    return columns


@dataclass(frozen=True)
class Corpus:
    """The collected columns of all shards, memory-mapped, and the folder for the decisions.

    columns: name -> one array per shard, in order.
    folder:  decisions are written here, as NAME-SHARD.npy.
    memory:  bytes that `decide` may use beside the mapped files.
    """

    columns: Mapping[str, Sequence[np.ndarray]]
    folder: Path
    memory: int

    def decisions(self, name: str, like: str, dtype: type[np.generic]) -> list[np.ndarray]:
        """New decisions, all zero, one per row of the column `like`: one memory-mapped array per shard."""
        arrays: list[np.ndarray] = []
        for shard, column in enumerate(self.columns[like]):
            path = self.folder / f"{name}-{shard:05d}.npy"
            arrays.append(np.lib.format.open_memmap(path, "w+", dtype, (len(column),)))
        return arrays


@dataclass(frozen=True)
class GlobalStep:
    """A step that decides over the whole corpus.

    collect: computes columns of numbers from a batch, each of any length. The columns of a shard are concatenated.
    decide:  writes the decisions and returns details for the funnel. The key "clusters" holds up to EXAMPLE_CLUSTERS of
             {"size", "documents": indices of a few members in the whole corpus}, largest first.
    rows:    name of a decision -> how many of its rows belong to a batch.
    apply:   applies the rows of the decisions that belong to a batch.
    """

    collect: Callable[[DocumentBatch], Columns]
    decide: Callable[[Corpus], dict[str, Any]]
    rows: Callable[[DocumentBatch], Mapping[str, int]]
    apply: Callable[[DocumentBatch, Columns], None]


def rows_of_documents(*names: str) -> Callable[[DocumentBatch], Mapping[str, int]]:
    """`GlobalStep.rows` for decisions with one row per document."""
    return lambda batch: dict.fromkeys(names, len(batch))
