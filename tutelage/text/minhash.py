"""MinHash signatures, and locality-sensitive hashing (LSH) to find similar texts.

The n-grams of a text are hashed, and for each of many hash functions the minimum over them is kept. The expected
fraction of equal minima of two texts is the Jaccard similarity of their sets of n-grams (Broder 1997).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache

import numpy as np

from tutelage.text.hashing import GOLDEN
from tutelage.text.ngram_kernels import min_hashes
from tutelage.text.union_find import find, union
from tutelage.text.words import Hashes

FUNCTIONS = 64
BAND = 4  # 16-bit values, so that a band is one 64-bit number
_SEED = 20240613
_COMPARED_AT_ONCE = 1 << 15  # pairs


def bucket_keys(words: Hashes, width: int, buckets: int, rows: int) -> np.ndarray:
    """One key per text and bucket, of `rows` minima each: uint64[N, buckets]; 0 for a text without words. `width` is
    the number of words per n-gram."""
    least = min_hashes(words.values, words.bounds, width, _multipliers(buckets * rows)).reshape(-1, buckets, rows)
    keys = np.full(least.shape[:2], GOLDEN)
    for row in range(rows):
        keys = (keys ^ least[:, :, row]) * GOLDEN
        keys ^= keys >> np.uint64(29)
    return np.where(np.diff(words.bounds)[:, None] > 0, keys | np.uint64(1), np.uint64(0))


def signatures(words: Hashes, width: int = 3) -> np.ndarray:
    """16 bits of each minimum, uint16[N, FUNCTIONS]; all 65535 for a text without words. Three words per n-gram are
    short enough for a question of ten words, and long enough that single common words do not match."""
    # Minima have leading zeros, so lower bits carry the information.
    least = min_hashes(words.values, words.bounds, width, _multipliers(FUNCTIONS))
    return (least >> np.uint64(16)).astype(np.uint16)


@cache
def _multipliers(count: int) -> np.ndarray:
    return np.random.default_rng(_SEED).integers(0, 1 << 64, count, np.uint64, endpoint=False) | np.uint64(1)


def agreement(signatures: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The estimated Jaccard similarity of rows `left` and `right`, float32 as long. Its standard error is at most
    1 / (2 sqrt(FUNCTIONS))."""
    found = np.empty(len(left), np.float32)
    for start in range(0, len(left), _COMPARED_AT_ONCE):
        part = slice(start, start + _COMPARED_AT_ONCE)
        found[part] = (signatures[left[part]] == signatures[right[part]]).mean(axis=1)
    return found


def band_keys(signatures: np.ndarray) -> Iterator[np.ndarray]:
    """Per band of BAND values, one key per text, uint64[N]. Texts of similarity s share at least one band with
    probability 1 - (1 - s^4)^16: 0.9998 at 0.8, 0.64 at 0.5."""
    for start in range(0, signatures.shape[1], BAND):
        yield np.ascontiguousarray(signatures[:, start : start + BAND]).view(np.uint64)[:, 0]


def clusters(
    count: int, keys: Iterable[np.ndarray], similar: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> np.ndarray:
    """Cluster `count` texts. Returns per text the index of the first text of its cluster, int64[count].

    keys:    columns, uint64[count] each; texts with an equal key are candidates.
    similar: function from two index arrays to bool, pair by pair: whether to join them.

    Among texts with the same key, each is compared only with the first and with its neighbour, so time does not grow
    quadratically with the number of copies. Memory: a few numbers per text.
    """
    labels = np.arange(count)
    for key in keys:
        order = np.argsort(key, kind="stable")
        equal = key[order[1:]] == key[order[:-1]]
        if not equal.any():
            continue
        begins = np.concatenate([[True], ~equal])
        heads = order[np.maximum.accumulate(np.where(begins, np.arange(count), 0))]
        for before in (heads[1:][equal], order[:-1][equal]):
            after = order[1:][equal]
            apart = find(labels, before) != find(labels, after)
            left, right = before[apart], after[apart]
            joined = similar(left, right)
            union(labels, left[joined], right[joined])
    return find(labels, np.arange(count))


def near_duplicates(signatures: np.ndarray, threshold: float = 0.8) -> np.ndarray:
    """`clusters` of texts whose estimated similarity is at least the threshold."""

    def similar(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        return agreement(signatures, left, right) >= threshold

    return clusters(len(signatures), band_keys(signatures), similar)
