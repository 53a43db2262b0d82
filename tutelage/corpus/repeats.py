"""Finds equal keys among very many, within a memory limit: external grouping, union-find and a Bloom filter.

Keys are hashes, in one array per shard, and are indexed consecutively over all shards. Key 0 means "do not compare".
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

_BYTES_A_KEY = 64  # memory to sort one key: the key, its index, the order, and NumPy's overhead
_READ_AT_ONCE = 1 << 20  # keys
_SETTLED_AT_ONCE = 1 << 16  # labels
_MIX = np.uint64(0x9E3779B97F4A7C15)


def groups(keys: Sequence[np.ndarray], memory: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Group equal keys. Yields (places int64[n], begins bool[n]) per part of the key range: the indices of keys that
    occur more than once, equal keys adjacent and in index order; `begins` is True at the first of each group.

    Example: keys [[5, 7], [5, 9, 7]] -> places [0, 2, 1, 4], begins [True, False, True, False].

    The keys are read once per part. The number of parts is chosen to stay within `memory` bytes; but all indices of one
    key are in one part, 64 bytes each, however many they are.
    """
    total = sum(map(len, keys))
    parts = max(1, math.ceil(total * _BYTES_A_KEY / max(memory, 1 << 20)))
    for part in range(parts):
        found, places, base = [], [], 0
        for shard in keys:
            for start in range(0, len(shard), _READ_AT_ONCE):
                some = np.asarray(shard[start : start + _READ_AT_ONCE])
                # Partition by mixed bits, since the keys themselves may not be uniform.
                chosen = some != 0 if parts == 1 else (some != 0) & ((some * _MIX >> np.uint64(32)) % parts == part)
                found.append(some[chosen])
                places.append(np.flatnonzero(chosen) + (base + start))
                madvise_dontneed(shard)
            base += len(shard)
        if not found:
            return
        key, place = np.concatenate(found), np.concatenate(places)
        order = np.argsort(key, kind="stable")
        key, place = key[order], place[order]
        same = key[1:] == key[:-1]
        repeated = np.zeros(len(key), bool)
        repeated[1:] |= same
        repeated[:-1] |= same
        begins = np.concatenate([[True], ~same]) if len(key) else np.zeros(0, bool)
        yield place[repeated], begins[repeated]


def bloom_seen(keys: Sequence[np.ndarray], false_positives: float, memory: int) -> Iterator[np.ndarray]:
    """Per shard, which keys occurred before, by a Bloom filter: bool arrays. Repeated keys are never missed; about a
    fraction `false_positives` of the new keys is reported as repeated.

    Raises:
        ValueError: the filter needs more than `memory` bytes.
    """
    total = sum(map(len, keys))
    bits = max(64, math.ceil(-total * math.log(false_positives) / math.log(2) ** 2))
    if bits // 8 > memory:
        raise ValueError(
            f"a Bloom filter for {total:,} keys with {false_positives:g} false positives needs {bits / 8 / 2**30:.1f} "
            f'GiB, but memory_gib is {memory / 2**30:.1f}; raise it, or set method = "exact", which stays within it'
        )
    functions = max(1, round(bits / max(total, 1) * math.log(2)))
    table = np.zeros((bits + 7) // 8, np.uint8)
    for shard in keys:
        seen = np.zeros(len(shard), bool)
        for start in range(0, len(shard), _READ_AT_ONCE):
            some = np.asarray(shard[start : start + _READ_AT_ONCE])
            unique, first = np.unique(some, return_index=True)
            here = np.ones(len(some), bool)
            here[first] = _add(table, bits, functions, unique)
            seen[start : start + len(some)] = here & (some != 0)
            madvise_dontneed(shard)
        yield seen


def madvise_dontneed(shard: np.ndarray) -> None:
    """Release the pages of a memory-mapped array (madvise DONTNEED); they are read again on access."""
    mapped: Any = shard.base
    if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def _add(table: np.ndarray, bits: int, functions: int, keys: np.ndarray) -> np.ndarray:
    """Insert keys into the table of the filter. Returns whether each was present."""
    step = (keys * _MIX) | np.uint64(1)
    there = np.ones(len(keys), bool)
    for number in range(functions):
        at = (keys + np.uint64(number) * step) % np.uint64(bits)
        byte, bit = (at >> np.uint64(3)).astype(np.int64), np.uint8(1) << (at & np.uint64(7)).astype(np.uint8)
        there &= (table[byte] & bit) != 0
        np.bitwise_or.at(table, byte, bit)
    return there


def connect(labels: np.ndarray, left: np.ndarray, right: np.ndarray) -> None:
    """Union: join the clusters of left[i] and right[i] for each i, in place. `labels`, int64[N], is a forest: each
    document points to a member of its cluster with an index not above its own."""
    while len(left):
        first, second = roots(labels, left), roots(labels, right)
        apart = first != second
        left, right = np.minimum(first, second)[apart], np.maximum(first, second)[apart]
        # If several are to become the parent of one root, the smallest wins; the others are retried.
        np.minimum.at(labels, right, left)


def roots(labels: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Find: the first document of the cluster of each of `places`. Compresses paths in `labels`."""
    found = labels[places]
    while True:
        further = labels[found]
        if np.array_equal(further, found):
            labels[places] = found
            return found
        found = further


def settle(labels: np.ndarray) -> np.ndarray:
    """Flatten the forest, chunk by chunk: each label becomes the first document of its cluster."""
    for start in range(0, len(labels), _SETTLED_AT_ONCE):
        roots(labels, np.arange(start, min(start + _SETTLED_AT_ONCE, len(labels))))
    return labels


def spread(rows: np.ndarray, shards: Iterable[np.ndarray]) -> None:
    """Scatter values over all documents into the arrays of the shards, in order."""
    start = 0
    for shard in shards:
        shard[:] = rows[start : start + len(shard)]
        start += len(shard)
