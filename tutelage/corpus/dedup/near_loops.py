"""The compiled loop of MinHash: characters to words to n-grams to signatures to bucket keys. Imported lazily: numba is
in the extra `corpus`, and importing it takes a second.

Shape suffixes: C characters, N texts, F hash functions, B buckets.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from tutelage.corpus.dedup.folding import ALONE, BREAK, SILENT

_MIX = np.uint64(0x9E3779B97F4A7C15)
_LARGEST = np.uint64(0xFFFFFFFFFFFFFFFF)


@njit(cache=True, inline="always")
def _mixed(value: Any) -> Any:
    value ^= value >> np.uint64(30)
    value *= np.uint64(0xBF58476D1CE4E5B9)
    value ^= value >> np.uint64(27)
    value *= np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@njit(cache=True)
def _words(
    codes: np.ndarray,
    start: int,
    stop: int,
    kinds: np.ndarray,
    scales: np.ndarray,
    adds: np.ndarray,
    words: np.ndarray,
) -> int:
    """Write the hash of each word of a text to `words`. Returns their number."""
    count, hashed, in_word = 0, np.uint64(0), False
    last = len(kinds) - 1
    for at in range(start, stop):
        code = codes[at]
        kind = kinds[code] if code < last else kinds[last]
        if kind == SILENT:
            continue
        if in_word and kind in (BREAK, ALONE):
            words[count] = _mixed(hashed)
            count += 1
            in_word = False
        if kind == BREAK:
            continue
        if not in_word:
            hashed, in_word = np.uint64(1), True
        if code < last:
            hashed = hashed * scales[code] + adds[code]
        else:
            hashed = hashed * scales[last] + np.uint64(code)
        if kind == ALONE:
            words[count] = _mixed(hashed)
            count += 1
            in_word = False
    if in_word:
        words[count] = _mixed(hashed)
        count += 1
    return count


@njit(cache=True)
def bucket_keys(
    codes: np.ndarray,
    bounds: np.ndarray,
    kinds: np.ndarray,
    scales: np.ndarray,
    adds: np.ndarray,
    width: int,
    multipliers: np.ndarray,
    buckets: int,
) -> np.ndarray:
    """One key per text and bucket, uint64[N, B]; 0 for a text without words.

    codes:       uint32[C]; text i is codes[bounds[i]:bounds[i+1]].
    kinds, scales, adds: see `folding`.
    width:       words per n-gram; a shorter text is one n-gram.
    multipliers: uint64[F], odd; F is a multiple of B.
    """
    texts, functions = len(bounds) - 1, len(multipliers)
    keys = np.zeros((texts, buckets), np.uint64)
    longest = 1
    for text in range(texts):
        longest = max(longest, bounds[text + 1] - bounds[text])
    words, least = np.empty(longest, np.uint64), np.empty(functions, np.uint64)
    for text in range(texts):
        count = _words(codes, bounds[text], bounds[text + 1], kinds, scales, adds, words)
        if not count:
            continue
        least[:] = _LARGEST
        here = min(width, count)
        for first in range(count - here + 1):
            gram = np.uint64(here)
            for word in range(first, first + here):
                gram = gram * _MIX + words[word]
            gram = _mixed(gram)
            for function in range(functions):
                least[function] = min(least[function], gram * multipliers[function])
        rows = functions // buckets
        for bucket in range(buckets):
            key = _MIX
            for row in range(bucket * rows, (bucket + 1) * rows):
                key = (key ^ least[row]) * _MIX
                key ^= key >> np.uint64(29)
            keys[text, bucket] = key | np.uint64(1)
    return keys
