"""Which of very many numbers are equal, in as much memory as one allows: keys are hashes of what may stand twice.

Keys come as arrays, one for each shard, and are numbered through from the first of the first shard. The key 0 says that
there is nothing to compare.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

_BYTES_A_KEY = 64  # what sorting one key takes: the key, its place, the order, and what NumPy needs beside
_READ_AT_ONCE = 1 << 20  # keys
_SETTLED_AT_ONCE = 1 << 16  # labels
_MIX = np.uint64(0x9E3779B97F4A7C15)


def groups(keys: Sequence[np.ndarray], memory: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The places of keys that stand more than once: (places int64[n], begins bool[n]) for each part of the keys' range,
    equal keys side by side in the order of their places, `begins` at the first of each.

    The keys are read once for each part, and there are as many parts as keep it within `memory` bytes; but all places
    of one key are in one part, 64 bytes each, however many they are.
    """
    total = sum(map(len, keys))
    parts = max(1, math.ceil(total * _BYTES_A_KEY / max(memory, 1 << 20)))
    for part in range(parts):
        found, places, base = [], [], 0
        for shard in keys:
            for start in range(0, len(shard), _READ_AT_ONCE):
                some = np.asarray(shard[start : start + _READ_AT_ONCE])
                # The remainder of mixed bits, for nothing says that the keys themselves are spread evenly.
                chosen = some != 0 if parts == 1 else (some != 0) & ((some * _MIX >> np.uint64(32)) % parts == part)
                found.append(some[chosen])
                places.append(np.flatnonzero(chosen) + (base + start))
                let_go(shard)
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


def seen_before(keys: Sequence[np.ndarray], false_positives: float, memory: int) -> Iterator[np.ndarray]:
    """Of each shard which keys stood before, by a Bloom filter: bool arrays. No key that stood before is missed; of the
    others a share of about `false_positives` is taken for one.

    Raises:
        ValueError: the filter for so many keys needs more memory than it may have.
    """
    total = sum(map(len, keys))
    bits = max(64, math.ceil(-total * math.log(false_positives) / math.log(2) ** 2))
    if bits // 8 > memory:
        raise ValueError(
            f"a Bloom filter for {total:,} keys with {false_positives:g} false positives takes {bits / 8 / 2**30:.1f} "
            f'GiB, and memory_gib is {memory / 2**30:.1f}; raise it, or take method = "exact", which needs no more'
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
            let_go(shard)
        yield seen


def let_go(shard: np.ndarray) -> None:
    """Gives back the memory that a mapped file takes; it is read again where it is needed again."""
    mapped: Any = shard.base
    if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def _add(table: np.ndarray, bits: int, functions: int, keys: np.ndarray) -> np.ndarray:
    """Puts keys into the filter's table; gives whether each was there."""
    step = (keys * _MIX) | np.uint64(1)
    there = np.ones(len(keys), bool)
    for number in range(functions):
        at = (keys + np.uint64(number) * step) % np.uint64(bits)
        byte, bit = (at >> np.uint64(3)).astype(np.int64), np.uint8(1) << (at & np.uint64(7)).astype(np.uint8)
        there &= (table[byte] & bit) != 0
        np.bitwise_or.at(table, byte, bit)
    return there


def connect(labels: np.ndarray, left: np.ndarray, right: np.ndarray) -> None:
    """Joins the clusters of the documents left[i] and right[i], for each i. `labels`, int64[N], holds of each document
    the number of one of its cluster, itself where it is alone, and never a larger one; it is changed."""
    while len(left):
        first, second = roots(labels, left), roots(labels, right)
        apart = first != second
        left, right = np.minimum(first, second)[apart], np.maximum(first, second)[apart]
        # Where several want to be the parent of one, the least becomes it; the others come again.
        np.minimum.at(labels, right, left)


def roots(labels: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The first document of the cluster that each of `places` is in; shortens the way there for the next to ask."""
    found = labels[places]
    while True:
        further = labels[found]
        if np.array_equal(further, found):
            labels[places] = found
            return found
        found = further


def settle(labels: np.ndarray) -> np.ndarray:
    """The labels, each now the first document of its cluster; a part at a time, for they are many."""
    for start in range(0, len(labels), _SETTLED_AT_ONCE):
        roots(labels, np.arange(start, min(start + _SETTLED_AT_ONCE, len(labels))))
    return labels


def spread(rows: np.ndarray, shards: Iterable[np.ndarray]) -> None:
    """Writes the numbers of all documents into the arrays of the shards, in order."""
    start = 0
    for shard in shards:
        shard[:] = rows[start : start + len(shard)]
        start += len(shard)
