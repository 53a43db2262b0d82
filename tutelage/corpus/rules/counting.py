"""Compiled loops that count repetition within each text."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from tutelage.text.hashing import GOLDEN

_SHIFT = np.uint64(32)


@njit(cache=True)
def _room(firsts: np.ndarray, lasts: np.ndarray) -> int:
    """The size of a hash table, a power of two, for the longest range."""
    most = 1
    for text in range(len(firsts)):
        most = max(most, lasts[text] - firsts[text])
    room = 16
    while room < 2 * most:
        room *= 2
    return room


@njit(cache=True, inline="always")
def _slot(value: Any, keys: np.ndarray, rounds: np.ndarray, this_round: int, mask: Any) -> Any:
    """The slot of a value in a hash table, or the free slot for it. Slots of earlier rounds are free."""
    place = ((value * GOLDEN) >> _SHIFT) & mask
    while rounds[place] == this_round and keys[place] != value:
        place = (place + np.uint64(1)) & mask
    return place


@njit(cache=True)
def repeats(
    hashes: np.ndarray, lengths: np.ndarray, firsts: np.ndarray, lasts: np.ndarray, exclude_first: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Per range, the number of items that occur in it more than once, int64[N], and their characters, int64[N]. With
    `exclude_first` the first copy of each does not count."""
    count, characters = np.zeros(len(firsts), np.int64), np.zeros(len(firsts), np.int64)
    room = _room(firsts, lasts)
    keys, rounds, places = np.empty(room, np.uint64), np.zeros(room, np.int32), np.empty(room, np.int64)
    mask = np.uint64(room - 1)
    for text in range(len(firsts)):
        for at in range(firsts[text], lasts[text]):
            slot = _slot(hashes[at], keys, rounds, text + 1, mask)
            if rounds[slot] != text + 1:
                rounds[slot], keys[slot], places[slot] = text + 1, hashes[at], at
                continue
            count[text] += 1
            characters[text] += lengths[at]
            if not exclude_first and places[slot] >= 0:
                count[text] += 1
                characters[text] += lengths[places[slot]]
                places[slot] = -1
    return count, characters


@njit(cache=True)
def repetition(
    hashes: np.ndarray,
    lengths: np.ndarray,
    firsts: np.ndarray,
    lasts: np.ndarray,
    wholes: np.ndarray,
    tops: np.ndarray,
    duplicates: np.ndarray,
    exclude_first: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """The first limit on repeated n-grams of words that each text breaks.

    wholes:     int64[N], the number of characters that fractions refer to.
    tops:       float64[A, 2], rows (n, limit) for the fraction in the most frequent n-gram.
    duplicates: float64[B, 2], rows (n, limit) for the fraction in all n-grams that occur more than once.
    exclude_first: the first copy of an n-gram does not count, nor do n-grams that begin inside a counted one; the most
                frequent n-gram counts once per occurrence, with the spaces between its words, even if it occurs once.
                Otherwise every copy counts, and each word once.

    Returns:
        int64[N], index of the broken limit, those of `tops` first, -1 if none; float64[N], the fraction.
    """
    broken, shares = np.full(len(firsts), -1), np.zeros(len(firsts), np.float64)
    room = _room(firsts, lasts)
    keys, rounds, counts = np.empty(room, np.uint64), np.zeros(room, np.int32), np.empty(room, np.int32)
    most = room // 2 + 1
    runs, slots, covered = np.empty(most, np.uint64), np.empty(most, np.int64), np.empty(most, np.bool_)
    this_round = 0
    for text in range(len(firsts)):
        first, words = firsts[text], lasts[text] - firsts[text]
        mask = np.uint64(15)
        while mask + np.uint64(1) < 2 * words:
            mask = (mask << np.uint64(1)) | np.uint64(1)
        for at in range(words):
            runs[at] = hashes[first + at]
        width = 1
        for limit in range(len(tops) + len(duplicates)):
            is_top = limit < len(tops)
            wanted, most_share = tops[limit] if is_top else duplicates[limit - len(tops)]
            while width < wanted and width <= words:
                width += 1
                for at in range(words - width + 1):
                    runs[at] = runs[at] * GOLDEN + hashes[first + at + width - 1]
            if words < wanted or wholes[text] == 0:
                continue
            this_round += 1
            made = words - width + 1
            if exclude_first and not is_top:
                repeated = _skipping(runs, lengths, first, made, width, keys, rounds, this_round, mask)
            else:
                for at in range(made):
                    slot = _slot(runs[at], keys, rounds, this_round, mask)
                    if rounds[slot] != this_round:
                        rounds[slot], keys[slot], counts[slot] = this_round, runs[at], 0
                    counts[slot] += 1
                    slots[at] = slot
                repeated = _counted(lengths, first, made, width, slots, counts, covered, is_top, exclude_first)
            if repeated / wholes[text] > most_share:
                broken[text], shares[text] = limit, repeated / wholes[text]
                break
    return broken, shares


@njit(cache=True)
def _skipping(
    runs: np.ndarray,
    lengths: np.ndarray,
    first: int,
    made: int,
    width: int,
    keys: np.ndarray,
    rounds: np.ndarray,
    this_round: int,
    mask: Any,
) -> int:
    """Characters in runs that stood there before; the search goes on behind each."""
    repeated, at = 0, 0
    while at < made:
        slot = _slot(runs[at], keys, rounds, this_round, mask)
        if rounds[slot] == this_round:
            for word in range(at, at + width):
                repeated += lengths[first + word]
            at += width
        else:
            rounds[slot], keys[slot] = this_round, runs[at]
            at += 1
    return repeated


@njit(cache=True)
def _counted(
    lengths: np.ndarray,
    first: int,
    made: int,
    width: int,
    slots: np.ndarray,
    counts: np.ndarray,
    covered: np.ndarray,
    is_top: bool,
    exclude_first: bool,
) -> int:
    """Characters in the most frequent n-gram (`is_top`), or in all that occur twice, from the counts of all n-grams."""
    best = 0
    for at in range(1, made):
        if counts[slots[at]] > counts[slots[best]]:
            best = at
    often = counts[slots[best]]
    if is_top and exclude_first:
        characters = width - 1
        for word in range(best, best + width):
            characters += lengths[first + word]
        return characters * often
    if often < 2:
        return 0
    covered[: made + width - 1] = False
    for at in range(made):
        if (is_top and slots[at] == slots[best]) or (not is_top and counts[slots[at]] > 1):
            covered[at : at + width] = True
    repeated = 0
    for word in range(made + width - 1):
        if covered[word]:
            repeated += lengths[first + word]
    return repeated
