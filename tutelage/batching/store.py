"""Tokenised examples on disk: written once, then memory-mapped, so that memory does not grow with the data.

A store is a folder of flat arrays. Segment i holds tokens[segments[i]:segments[i+1]], group g holds segments
groups[g]:groups[g+1]; every stream lies beside the tokens, every scalar beside the segments. Shape suffix G: groups.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np

from tutelage.batching.packing import collate, pack, uncollate
from tutelage.config import fingerprint
from tutelage.files import atomic_file, atomic_folder, write_json
from tutelage.ledger import Ledger
from tutelage.records import Batch, Example, ExampleGroup, Schema, Stream

META = "store.json"
_GROUPS_AT_ONCE = 512  # written together: small writes cost more than what they write


@dataclass(frozen=True, eq=False)
class Store:
    """The example groups of a folder, by index.

    tokens_G, weight_G: the tokens and the summed loss weight of each group.
    """

    folder: Path
    ledger: Ledger
    schema: Schema
    tokens_G: np.ndarray
    weight_G: np.ndarray
    _columns: dict[str, np.ndarray]
    _scalars: dict[str, np.ndarray]
    _segments: np.ndarray
    _groups: np.ndarray

    def __len__(self) -> int:
        return len(self._groups) - 1

    @property
    def longest(self) -> int:
        """Tokens of the longest group."""
        return int(self.tokens_G.max(initial=0))

    def group(self, index: int) -> ExampleGroup:
        return tuple(self._example(i) for i in range(self._groups[index], self._groups[index + 1]))

    def scalar(self, name: str) -> np.ndarray:
        """A scalar of every segment, float32 [segments], in the order of the groups."""
        return self._scalars[name]

    @property
    def segments_G(self) -> np.ndarray:
        """The segments of each group."""
        return np.diff(self._groups)

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


def open_store(folder: Path) -> Store:
    """Memory-map the store in `folder`."""
    meta = json.loads((folder / META).read_text())
    schema = msgspec.convert(meta["schema"], Schema)
    dtypes = {"tokens": "int32", "weights": "float32", **({"targets": "int32"} if meta["targets"] else {})}
    dtypes |= {name: stream.dtype for name, stream in schema.streams.items()}
    segments = np.concatenate([[0], np.cumsum(_map(folder / "segments.bin", "int32"), dtype=np.int64)])
    groups = np.concatenate([[0], np.cumsum(_map(folder / "groups.bin", "int32"), dtype=np.int64)])
    return Store(
        folder=folder,
        ledger=Ledger.from_dict(meta["ledger"]),
        schema=schema,
        tokens_G=np.diff(segments[groups]),
        weight_G=np.asarray(_map(folder / "group_weights.bin", "float32")),
        _columns={name: _map(folder / f"{name}.bin", dtype) for name, dtype in dtypes.items()},
        _scalars={name: _map(folder / f"scalar.{name}.bin", "float32") for name in schema.scalars},
        _segments=segments,
        _groups=groups,
    )


class StoreWriter:
    """Writes groups to a folder one after the other; `finish` writes what makes it a store.

    Groups whose loss weights are all 0, such as prompts, are welcome.
    """

    def __init__(self, folder: Path, schema: Schema) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.schema = folder, schema
        self._targets: bool | None = None
        self._waiting: list[ExampleGroup] = []
        self._files: dict[str, BinaryIO] = {}

    def add(self, group: ExampleGroup) -> None:
        self._waiting.append(group)
        if len(self._waiting) == _GROUPS_AT_ONCE:
            self._flush()

    def finish(self, ledger: Ledger) -> None:
        """Write the rest and the store's description. AssertionError where the ledger does not add up."""
        self._flush()
        self.close()
        ledger.check()
        meta = {
            "schema": msgspec.to_builtins(self.schema),
            "targets": bool(self._targets),
            "ledger": ledger.to_dict(),
        }
        write_json(self.folder / META, meta)

    def close(self) -> None:
        for file in self._files.values():
            file.close()

    def _flush(self) -> None:
        groups, self._waiting = self._waiting, []
        if not groups:
            return
        examples = [example for group in groups for example in group]
        if self._targets is None:
            self._targets = examples[0].targets is not None
        columns = [dict(_columns(example)) for example in examples]
        for own, example in zip(columns, examples, strict=True):
            assert ("targets" in own) == self._targets, "examples carry unlike targets"
            dtypes = {name: str(column.dtype) for name, column in example.streams.items()}
            assert dtypes == {n: s.dtype for n, s in self.schema.streams.items()}, "examples carry unlike streams"
            assert example.scalars.keys() == self.schema.scalars.keys(), "examples carry unlike scalars"
        self._write("groups", np.array([len(group) for group in groups], np.int32))
        self._write("group_weights", np.array([sum(map(loss_weight, group)) for group in groups], np.float32))
        self._write("segments", np.array([len(example.tokens) for example in examples], np.int32))
        for name in columns[0]:
            self._write(name, *(own[name] for own in columns))
        for name in self.schema.scalars:
            self._write(f"scalar.{name}", np.array([example.scalars[name] for example in examples], np.float32))

    def _write(self, name: str, *parts: np.ndarray) -> None:
        if name not in self._files:
            self._files[name] = (self.folder / f"{name}.bin").open("wb")
        self._files[name].write(np.concatenate(parts).data)


_NO_STREAMS = Schema()


def write_store(folder: Path, groups: Iterable[ExampleGroup], ledger: Ledger, schema: Schema = _NO_STREAMS) -> Store:
    """Write groups as a store, whole or not at all, and open it. Whoever makes the groups fills `ledger`; it is checked
    and stored with them."""
    with atomic_folder(folder) as temporary:
        writer = StoreWriter(temporary, schema)
        try:
            for group in groups:
                writer.add(group)
            writer.finish(ledger)
        finally:
            writer.close()
    return open_store(folder)


def add_stream(
    store: Store,
    name: str,
    key: str,
    values: Callable[[Batch], np.ndarray],
    micro_tokens: int,
    stream: Stream | None = None,
) -> Store:
    """The store with one more stream, such as a reference model's log-probabilities.

    values: the value at each position of a batch, [N], for the token that the position predicts.
    key:    what the values depend on besides the tokens, such as the model's fingerprint. The values are computed once
            and kept beside the store under it.
    """
    stream = stream or Stream("float32")
    assert name not in store.schema.streams, f"the store has a stream '{name}'"
    path = store.folder / f"{name}-{fingerprint(key, stream)[:16]}.bin"
    if not path.exists():
        with atomic_file(path) as temporary:
            column: np.ndarray = np.memmap(temporary, stream.dtype, "w+", shape=max(1, int(store.tokens_G.sum())))
            for rows in _rows(store, micro_tokens):
                batch = collate([store.group(index) for index in rows])
                columns = iter(uncollate(batch, values(batch).astype(stream.dtype), stream.fill))
                for index in rows:
                    for segment in range(store._groups[index], store._groups[index + 1]):
                        column[store._segments[segment] : store._segments[segment + 1]] = next(columns)
            column.flush()  # type: ignore[attr-defined]
    schema = replace(store.schema, streams={**store.schema.streams, name: stream})
    new = _map(path, stream.dtype)
    return replace(store, schema=schema, _columns={**store._columns, name: new})


def _rows(store: Store, micro_tokens: int) -> Iterator[list[int]]:
    """The groups of each forward pass over a store, in pieces of the store so that memory does not grow with it."""
    for start in range(0, len(store), 4096):
        lengths = store.tokens_G[start : start + 4096].tolist()
        for row in pack(lengths, max(micro_tokens, store.longest)):
            yield [start + index for index in row]


def _columns(example: Example) -> Iterator[tuple[str, np.ndarray]]:
    length = len(example.tokens)
    weights = np.ones(length, np.float32) if example.weights is None else example.weights
    yield "tokens", np.asarray(example.tokens, np.int32)
    yield "weights", np.asarray(weights, np.float32)
    if example.targets is not None:
        yield "targets", np.asarray(example.targets, np.int32)
    yield from example.streams.items()


def loss_weight(example: Example) -> float:
    """The summed loss weight of an example's predictions; nothing predicts its first token."""
    if example.targets is None:
        return float(len(example.tokens) - 1 if example.weights is None else example.weights[1:].sum(dtype=np.float64))
    return float(len(example.tokens) if example.weights is None else example.weights.sum(dtype=np.float64))


def _map(path: Path, dtype: str) -> np.ndarray:
    # np.memmap refuses empty files, and a store of no groups has no files at all.
    if not path.exists() or path.stat().st_size == 0:
        return np.zeros(0, dtype)
    return np.memmap(path, dtype=dtype, mode="r")
