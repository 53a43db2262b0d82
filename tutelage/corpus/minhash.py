"""Which texts are nearly the same: MinHash signatures, and locality-sensitive hashing to find the alike among many.

A text is cut into tokens, its shingles (runs of a few tokens) are hashed, and for each of many hash functions the least
value over the text's shingles is kept. Two texts agree in as large a share of these as their sets of shingles do:
intersection over union (Broder 1997). Everything works on many texts at once, without a Python step for each shingle,
and 64 functions take 128 bytes a text.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

from tutelage.corpus.repeats import connect, roots

SHINGLE = 3  # tokens: short enough for a question of ten words, long enough that a common word alone says nothing
FUNCTIONS = 64
BAND = 4  # values of 16 bits: a band is one number of 64 bits
_SEED = 20240229
_COMPARED_AT_ONCE = 1 << 15  # pairs

_SPACE, _IN_WORD, _ALONE = 0, 1, 2
# Scripts that are written without spaces: each character counts as a word.
_UNSPACED = ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x2E80, 0x31FF), (0x3400, 0x9FFF), (0xF900, 0xFAFF))
_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2**64


class Hashes(NamedTuple):
    """Hashes of the pieces of N texts, laid end to end: uint64[S]; those of text i are values[bounds[i]:bounds[i+1]],
    bounds: int64[N + 1]."""

    values: np.ndarray
    bounds: np.ndarray


def token_hashes(texts: Sequence[str]) -> Hashes:
    """The tokens of each text in order: words without regard to case, and every other visible character by itself; in
    scripts without spaces every character is a word."""
    lowered = [text.lower() for text in texts]
    ends = np.cumsum([len(text) for text in lowered], dtype=np.int64)
    codes, kinds = _read("".join(lowered))
    in_word, alone = kinds == _IN_WORD, kinds == _ALONE
    # Where a character is not in the same word as the one before it; a word never goes on into the next text.
    apart = np.ones(len(codes) + 1, bool)
    np.logical_and(in_word[1:], in_word[:-1], out=apart[1:-1])
    np.logical_not(apart[1:-1], out=apart[1:-1])
    apart[ends] = True
    starts = np.flatnonzero(alone | (in_word & apart[:-1]))
    stops = np.flatnonzero(alone | (in_word & apart[1:])) + 1
    bounds = np.concatenate([[0], np.searchsorted(starts, ends)]).astype(np.int64)
    return Hashes(_range_hashes(codes, starts, stops), bounds)


def _read(text: str) -> tuple[np.ndarray, np.ndarray]:
    """The characters of a text as numbers, and of each whether it is white space, in a word or a token by itself."""
    if text.isascii():
        spelled = text.encode()
        return np.frombuffer(spelled, np.uint8), np.frombuffer(spelled.translate(_kinds()[:256].tobytes()), np.uint8)
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    return codes, _kinds().take(codes, mode="clip")


def shingles(tokens: Hashes, width: int = SHINGLE) -> Hashes:
    """Every run of `width` tokens of each text; a text of fewer tokens is one shingle, one without any has none."""
    counts = np.diff(tokens.bounds)
    made = np.where(counts < width, np.minimum(counts, 1), counts - width + 1)
    bounds = np.concatenate([[0], np.cumsum(made)]).astype(np.int64)
    # The place of each shingle among its text's, added to where the text's tokens begin.
    starts = np.arange(bounds[-1]) + np.repeat(tokens.bounds[:-1] - bounds[:-1], made)
    stops = np.minimum(starts + width, np.repeat(tokens.bounds[1:], made))
    return Hashes(_range_hashes(tokens.values, starts, stops), bounds)


def text_hashes(tokens: Hashes) -> np.ndarray:
    """One hash of each text, uint64[N]: of its tokens in order."""
    return _range_hashes(tokens.values, tokens.bounds[:-1], tokens.bounds[1:])


def signatures(found: Hashes) -> np.ndarray:
    """The MinHash signature of each text from its shingles, uint16[N, FUNCTIONS]; all 65535 for a text without any."""
    made = np.full((len(found.bounds) - 1, FUNCTIONS), 0xFFFF, np.uint16)
    filled = np.flatnonzero(np.diff(found.bounds))
    if not len(filled):
        return made
    starts = found.bounds[:-1][filled]
    high, low = (found.values >> np.uint64(32)).astype(np.uint32), found.values.astype(np.uint32)
    hashed, other = np.empty_like(high), np.empty_like(low)
    for number, (first, second) in enumerate(_multipliers()):
        np.multiply(high, first, out=hashed)
        np.multiply(low, second, out=other)
        hashed += other
        # The least values have zeros in front, so it is their last bits that tell them apart.
        made[filled, number] = np.minimum.reduceat(hashed, starts).astype(np.uint16)
    return made


def agreement(signatures: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The estimated similarity (intersection over union of shingles) of rows `left` and `right`, float32 as long; its
    standard error is at most 1 / (2 sqrt(FUNCTIONS))."""
    found = np.empty(len(left), np.float32)
    for start in range(0, len(left), _COMPARED_AT_ONCE):
        part = slice(start, start + _COMPARED_AT_ONCE)
        found[part] = (signatures[left[part]] == signatures[right[part]]).mean(axis=1)
    return found


def band_keys(signatures: np.ndarray) -> Iterator[np.ndarray]:
    """For each band of BAND values its content as one number a text, uint64[N]. Texts of similarity s share at least
    one band with probability 1 - (1 - s^4)^16: 0.9998 at 0.8, 0.64 at 0.5."""
    for start in range(0, signatures.shape[1], BAND):
        yield np.ascontiguousarray(signatures[:, start : start + BAND]).view(np.uint64)[:, 0]


def clusters(
    count: int, keys: Iterable[np.ndarray], alike: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> np.ndarray:
    """The clusters of `count` texts, int64[count]: of each text the number of the first text of its cluster.

    keys:  columns, uint64[count] each; texts that agree in one are candidates.
    alike: whether the texts of two arrays of numbers are alike, pair by pair: bool. What is alike is joined.

    Of many texts with one key each is compared with the first of them and with its neighbour, so that time does not
    grow with the square of a text that stands in the data a thousand times. Memory: a few numbers for each text.
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
            apart = roots(labels, before) != roots(labels, after)
            left, right = before[apart], after[apart]
            joined = alike(left, right)
            connect(labels, left[joined], right[joined])
    return roots(labels, np.arange(count))


def near_duplicates(signatures: np.ndarray, threshold: float = 0.8) -> np.ndarray:
    """`clusters` of texts whose estimated similarity reaches the threshold."""

    def alike(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        return agreement(signatures, left, right) >= threshold

    return clusters(len(signatures), band_keys(signatures), alike)


def _range_hashes(values: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """A hash of each run values[start:stop], uint64: a polynomial modulo 2**64, from sums over all that came before."""
    powers, inverses = _powers(1 << max(10, len(values).bit_length()))
    sums = np.zeros(len(values) + 1, np.uint64)
    np.multiply(values, powers[: len(values)], out=sums[1:], dtype=np.uint64, casting="unsafe")
    np.cumsum(sums[1:], out=sums[1:])
    return _mix((sums[stops] - sums[starts]) * inverses[starts])


@cache
def _powers(length: int) -> tuple[np.ndarray, np.ndarray]:
    """The powers of _BASE and of its inverse modulo 2**64, uint64[length] each."""
    rows = []
    for base in (_BASE, pow(_BASE, -1, 1 << 64)):
        row = np.full(length, base, np.uint64)
        row[0] = 1
        rows.append(np.cumprod(row, dtype=np.uint64))
    return rows[0], rows[1]


def _mix(values: np.ndarray) -> np.ndarray:
    """Numbers spread over all 64 bits (the last steps of SplitMix64); changes `values`, and gives it back."""
    values += np.uint64(_BASE)
    values ^= values >> np.uint64(30)
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values


@cache
def _multipliers() -> tuple[tuple[np.uint32, np.uint32], ...]:
    drawn = np.random.default_rng(_SEED).integers(0, 1 << 32, (FUNCTIONS, 2), np.uint32) | np.uint32(1)
    return tuple((first, second) for first, second in drawn)


@cache
def _kinds() -> np.ndarray:
    """Of each character below U+10000 whether it is white space, part of a word or a token by itself, uint8; all above
    are read as the last, which is by itself."""
    kinds = np.full(1 << 16, _ALONE, np.uint8)
    for code in range(1 << 16):
        character = chr(code)
        if character.isspace() or unicodedata.category(character) in ("Cc", "Cf"):
            kinds[code] = _SPACE
        elif character.isalnum() or unicodedata.category(character)[0] == "M":
            kinds[code] = _IN_WORD
    for first, last in _UNSPACED:
        kinds[first : last + 1] = np.where(kinds[first : last + 1] == _SPACE, _SPACE, _ALONE)
    return kinds
