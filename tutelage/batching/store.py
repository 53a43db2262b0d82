"""Tokenised examples on disk: written once, memory-mapped ever after, so that memory does not grow with the data.

A store is a folder of flat arrays. Segment i holds tokens[segments[i]:segments[i+1]], group u holds segments
groups[u]:groups[u+1]; every stream stands beside the tokens, every scalar beside the segments.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np

from tutelage.files import atomic_folder, write_json
from tutelage.ledger import Ledger
from tutelage.records import Example, ExampleGroup

META = "store.json"
_GROUPS_AT_ONCE = 512  # written together: small writes cost more than what they write


class Store:
    """Groups of a store, by index. `tokens_G` and `weight_G` give each group's tokens and loss weight."""

    def __init__(self, folder: Path) -> None:
        meta = json.loads((folder / META).read_text())
        self.folder = folder
        self.ledger = Ledger.from_dict(meta["ledger"])
        self.dtypes: dict[str, str] = meta["dtypes"]
        self.scalar_names: list[str] = meta["scalars"]
        self._columns = {name: _map(folder / f"{name}.bin", dtype) for name, dtype in self.dtypes.items()}
        self._scalars = {name: _map(folder / f"scalar.{name}.bin", "float32") for name in self.scalar_names}
        self._segments = np.concatenate([[0], np.cumsum(_map(folder / "segments.bin", "int32"), dtype=np.int64)])
        self._units = np.concatenate([[0], np.cumsum(_map(folder / "groups.bin", "int32"), dtype=np.int64)])
        self.tokens_G = np.diff(self._segments[self._units])
        self.weight_G = np.asarray(_map(folder / "group_weights.bin", "float32"))

    def __len__(self) -> int:
        return len(self._units) - 1

    @property
    def longest(self) -> int:
        """Tokens of the longest group."""
        return int(self.tokens_G.max(initial=0))

    def group(self, index: int) -> ExampleGroup:
        return tuple(self._example(i) for i in range(self._units[index], self._units[index + 1]))

    def _example(self, index: int) -> Example:
        part = slice(self._segments[index], self._segments[index + 1])
        columns = {name: column[part] for name, column in self._columns.items()}
        return Example(
            tokens=columns.pop("tokens"),
            weights=columns.pop("weights"),
            targets=columns.pop("targets", None),
            streams=columns,
            scalars={name: float(column[index]) for name, column in self._scalars.items()},
        )


def write_store(folder: Path, groups: Iterable[ExampleGroup], ledger: Ledger) -> Store:
    """Write groups as a store, whole or not at all, and open it. `ledger` is filled by whoever makes the groups and is
    checked and stored with them, so that what was dropped can be read beside what was kept."""
    with atomic_folder(folder) as temporary:
        columns = _write_units(temporary, groups)
        ledger.check()
        write_json(temporary / META, {**columns, "ledger": ledger.to_dict()})
    return Store(folder)


def _write_units(folder: Path, groups: Iterable[ExampleGroup]) -> dict[str, object]:
    files: dict[str, BinaryIO] = {}
    dtypes: dict[str, np.dtype] = {}
    scalars: list[str] = []

    def write(name: str, *parts: np.ndarray) -> None:
        if name not in files:
            files[name] = (folder / f"{name}.bin").open("wb")
        files[name].write(np.concatenate(parts).data)

    try:
        rows = iter(groups)
        while some := list(islice(rows, _GROUPS_AT_ONCE)):
            examples = [example for group in some for example in group]
            columns = [dict(_columns(example)) for example in examples]
            if not dtypes:
                dtypes, scalars = {name: c.dtype for name, c in columns[0].items()}, sorted(examples[0].scalars)
            assert all(dtypes == {name: c.dtype for name, c in own.items()} for own in columns), (
                "examples carry unlike streams"
            )
            assert all(scalars == sorted(example.scalars) for example in examples), "examples carry unlike scalars"
            weight_G = np.array([sum(map(loss_weight, group)) for group in some], np.float32)
            assert (weight_G > 0).all(), "a group without a trained token"
            write("groups", np.array([len(group) for group in some], np.int32))
            write("group_weights", weight_G)
            write("segments", np.array([len(example.tokens) for example in examples], np.int32))
            for name in dtypes:
                write(name, *(own[name] for own in columns))
            for name in scalars:
                write(f"scalar.{name}", np.array([example.scalars[name] for example in examples], np.float32))
    finally:
        for file in files.values():
            file.close()
    return {"dtypes": {name: str(dtype) for name, dtype in dtypes.items()}, "scalars": scalars}


def _columns(example: Example) -> Iterator[tuple[str, np.ndarray]]:
    length = len(example.tokens)
    weights = np.ones(length, np.float32) if example.weights is None else example.weights
    yield "tokens", np.asarray(example.tokens, np.int32)
    yield "weights", np.asarray(weights, np.float32)
    if example.targets is not None:
        yield "targets", np.asarray(example.targets, np.int32)
    yield from example.streams.items()


def loss_weight(example: Example) -> float:
    """The summed weight of the predictions this example grades; its first token is predicted by nothing."""
    if example.targets is None:
        return float(len(example.tokens) - 1 if example.weights is None else example.weights[1:].sum(dtype=np.float64))
    return float(len(example.tokens) if example.weights is None else example.weights.sum(dtype=np.float64))


def _map(path: Path, dtype: str) -> np.ndarray:
    # np.memmap refuses empty files, and a store of no groups has no files at all.
    if not path.exists() or path.stat().st_size == 0:
        return np.zeros(0, dtype)
    return np.memmap(path, dtype=dtype, mode="r")
