"""Compiled loops over n-grams of hashed words. Shape suffixes: W words, S n-grams, N texts, F hash functions."""

from __future__ import annotations

import numpy as np
from numba import njit

from tutelage.text.hashing import GOLDEN
from tutelage.text.kernels import mixed

_INVERSE = np.uint64(pow(int(GOLDEN), -1, 1 << 64))
_LARGEST = np.uint64(0xFFFFFFFFFFFFFFFF)


@njit(cache=True)
def hash_ngrams(words: np.ndarray, bounds: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Every run of `width` words of each text: hashes uint64[S], and bounds int64[N + 1]. A shorter text is one n-gram;
    an empty one has none. The hash is a polynomial of the words modulo 2**64."""
    made = np.zeros(len(bounds), np.int64)
    for text in range(len(bounds) - 1):
        count = bounds[text + 1] - bounds[text]
        made[text + 1] = made[text] + (max(count - width + 1, 1) if count else 0)
    hashes = np.empty(made[-1], np.uint64)
    for text in range(len(bounds) - 1):
        first, last = bounds[text], min(bounds[text] + width, bounds[text + 1])
        if first == last:
            continue
        value, power = np.uint64(0), np.uint64(1)
        for word in range(first, last):
            value += words[word] * power
            power *= GOLDEN
        power *= _INVERSE  # of the last word
        for place in range(made[text], made[text + 1]):
            hashes[place] = mixed(value + GOLDEN)
            if place + 1 < made[text + 1]:
                value = (value - words[first]) * _INVERSE + words[last] * power
                first, last = first + 1, last + 1
    return hashes, made


@njit(cache=True)
def min_hashes(words: np.ndarray, bounds: np.ndarray, width: int, multipliers: np.ndarray) -> np.ndarray:
    """For each text the least value of each hash function over its n-grams, uint64[N, F]; the largest number for a text
    without words. A text of fewer than `width` words is one n-gram.

    words: uint64[W]; those of text i are words[bounds[i]:bounds[i+1]].
    multipliers: uint64[F], odd. An n-gram's hash is mixed already; multiplied by an odd number, the leading bits that
                 decide which is least are as good as those of another hash function.
    """
    found = np.full((len(bounds) - 1, len(multipliers)), _LARGEST, np.uint64)
    for text in range(len(bounds) - 1):
        least = found[text]
        here = min(width, bounds[text + 1] - bounds[text])
        if not here:
            continue
        for first in range(bounds[text], bounds[text + 1] - here + 1):
            gram = np.uint64(here)
            for word in range(first, first + here):
                gram = gram * GOLDEN + words[word]
            gram = mixed(gram)
            for function in range(len(multipliers)):
                least[function] = min(least[function], gram * multipliers[function])
    return found
