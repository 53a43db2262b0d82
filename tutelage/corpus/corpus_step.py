"""Steps that must know all documents before they can judge one: duplicates, the best tenth.

Such a step has three parts. `collect` reads off each document a few numbers, wherever the document is worked on; once
all documents are through, `decide` sees the numbers of the whole corpus, and no text, and gives each its verdict;
`apply` is a step like any other, with the verdicts on the documents before it.
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
    """Columns of a shard as they are collected, on the disk: those of long texts would not fit into memory."""

    def __init__(self, folder: Path, files: ExitStack) -> None:
        self._folder, self._files = folder, files
        self._open: dict[str, BinaryIO] = {}

    def write(self, columns: Columns) -> None:
        """Appends what was collected off a batch."""
        for name, values in columns.items():
            if name not in self._open:
                path = self._folder / f"{name}.{values.dtype.name}{_COLUMN}"
                self._open[name] = self._files.enter_context(path.open("wb"))
            self._open[name].write(np.ascontiguousarray(values).data)


def read_columns(folder: Path) -> Columns:
    """The columns that a `ColumnWriter` left in a folder, memory-mapped."""
    columns = {}
    for path in sorted(folder.glob(f"*{_COLUMN}")):
        name, dtype = path.name.removesuffix(_COLUMN).rsplit(".", 1)
        # An empty file cannot be mapped.
        columns[name] = np.memmap(path, dtype, "r") if path.stat().st_size else np.empty(0, dtype)
    return columns


@dataclass(frozen=True)
class Corpus:
    """The numbers of all shards, memory-mapped, and where the verdicts go.

    columns: name -> one array for each shard, in order.
    folder:  where verdicts are written, as NAME-SHARD.npy.
    memory:  bytes that deciding may hold beside what is mapped.
    """

    columns: Mapping[str, Sequence[np.ndarray]]
    folder: Path
    memory: int

    def verdicts(self, name: str, like: str, dtype: type[np.generic]) -> list[np.ndarray]:
        """A new verdict for each row of the column `like`, all zero: an array for each shard, on the disk."""
        made: list[np.ndarray] = []
        for shard, column in enumerate(self.columns[like]):
            path = self.folder / f"{name}-{shard:05d}.npy"
            made.append(np.lib.format.open_memmap(path, "w+", dtype, (len(column),)))
        return made


@dataclass(frozen=True)
class CorpusStep:
    """A step over the whole corpus.

    collect: columns of numbers, of any length each, read off a batch; those of one shard are laid end to end.
    decide:  writes the verdicts; gives figures for the funnel. Under "clusters" stand, largest first, up to
             EXAMPLE_CLUSTERS of {"size", "documents": numbers of a few members, counted over the whole corpus}.
    rows:    of each verdict how many rows belong to a batch.
    apply:   judges a batch by its rows of the verdicts.
    """

    collect: Callable[[DocumentBatch], Columns]
    decide: Callable[[Corpus], dict[str, Any]]
    rows: Callable[[DocumentBatch], Mapping[str, int]]
    apply: Callable[[DocumentBatch, Columns], None]


def rows_of_documents(*names: str) -> Callable[[DocumentBatch], Mapping[str, int]]:
    """`rows` for verdicts that have a row for each document."""
    return lambda batch: dict.fromkeys(names, len(batch))
