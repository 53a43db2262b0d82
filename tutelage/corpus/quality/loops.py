"""The compiled loops of the classifier."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from tutelage.text.hashing import GOLDEN


@njit(cache=True)
def _features(words: np.ndarray, first: int, last: int, counts: np.ndarray, met: np.ndarray, shift: Any) -> int:
    """Count unigrams and bigrams in hash buckets. Writes the distinct buckets to `met`, and returns their number."""
    many = 0
    for at in range(first, last):
        for pair in range(2):
            if pair == 0:
                value = words[at]
            elif at + 1 < last:
                value = words[at] * GOLDEN + words[at + 1]
            else:
                break
            place = (value * GOLDEN) >> shift
            if counts[place] == 0:
                met[many] = place
                many += 1
            counts[place] += 1
    return many


@njit(cache=True)
def _weigh(counts: np.ndarray, met: np.ndarray, many: int, weights: np.ndarray, values: np.ndarray) -> float:
    """The weighted sum of a text's features. Writes their values (log counts, L2-normalised) to `values`."""
    square = 0.0
    for at in range(many):
        values[at] = np.log1p(np.float32(counts[met[at]]))
        square += values[at] * values[at]
    total = 0.0
    for at in range(many):
        values[at] /= np.sqrt(square)
        total += weights[met[at]] * values[at]
        counts[met[at]] = 0
    return total


@njit(cache=True)
def score(words: np.ndarray, bounds: np.ndarray, weights: np.ndarray, bias: float) -> np.ndarray:
    """The log-odds of each of N texts, float64[N]."""
    counts, met = np.zeros(len(weights), np.int32), np.empty(2 * len(words) + 1, np.int64)
    values, found = np.empty(2 * len(words) + 1, np.float32), np.empty(len(bounds) - 1)
    for text in range(len(bounds) - 1):
        many = _features(words, bounds[text], bounds[text + 1], counts, met, shift_of(len(weights)))
        found[text] = bias + _weigh(counts, met, many, weights, values)
    return found


@njit(cache=True)
def learn(
    words: np.ndarray,
    bounds: np.ndarray,
    labels: np.ndarray,
    importance: np.ndarray,
    orders: np.ndarray,
    weights: np.ndarray,
    squares: np.ndarray,
    rate: float,
) -> float:
    """Logistic regression by AdaGrad, one text at a time, in the order of each row of `orders`. Updates `weights` in
    place and returns the bias."""
    counts, met = np.zeros(len(weights), np.int32), np.empty(2 * len(words) + 1, np.int64)
    values = np.empty(2 * len(words) + 1, np.float32)
    bias, bias_square = 0.0, 1e-6
    for epoch in range(len(orders)):
        for text in orders[epoch]:
            many = _features(words, bounds[text], bounds[text + 1], counts, met, shift_of(len(weights)))
            odds = bias + _weigh(counts, met, many, weights, values)
            error = importance[text] * (1 / (1 + np.exp(-odds)) - labels[text])
            for at in range(many):
                slope = error * values[at]
                squares[met[at]] += slope * slope
                weights[met[at]] -= rate * slope / np.sqrt(squares[met[at]])
            bias_square += error * error
            bias -= rate * error / np.sqrt(bias_square)
    return bias


@njit(cache=True)
def shift_of(places: int) -> Any:
    """The shift that maps a 64-bit hash to `places` buckets, a power of two."""
    shift = 64
    while places > 1:
        places //= 2
        shift -= 1
    return np.uint64(shift)
