"""Finds equal keys among very many, within a memory limit: external grouping and a Bloom filter.

Keys are hashes, in one array per shard, and are indexed consecutively over all shards. Key 0 means "do not compare".
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from tutelage.text.hashing import GOLDEN

_BYTES_A_KEY = 64  # memory to sort one key: the key, its index, the order, and NumPy's overhead
_READ_AT_ONCE = 1 << 20  # keys


def group_equal(keys: Sequence[np.ndarray], memory: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
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
                chosen = some != 0 if parts == 1 else (some != 0) & ((some * GOLDEN >> np.uint64(32)) % parts == part)
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
    step = (keys * GOLDEN) | np.uint64(1)
    there = np.ones(len(keys), bool)
    for number in range(functions):
        at = (keys + np.uint64(number) * step) % np.uint64(bits)
        byte, bit = (at >> np.uint64(3)).astype(np.int64), np.uint8(1) << (at & np.uint64(7)).astype(np.uint8)
        there &= (table[byte] & bit) != 0
        np.bitwise_or.at(table, byte, bit)
    return there


def scatter(rows: np.ndarray, shards: Iterable[np.ndarray]) -> None:
    """Scatter values over all documents into the arrays of the shards, in order."""
    start = 0
    for shard in shards:
        shard[:] = rows[start : start + len(shard)]
        start += len(shard)
