"""Near-duplicate texts: MinHash signatures, and locality-sensitive hashing (LSH) to find candidates.

A text is split into tokens, its shingles (runs of a few tokens) are hashed, and for each of many hash functions the
minimum over the shingles is kept. The expected fraction of equal minima of two texts is the Jaccard similarity of their
shingle sets (Broder 1997). All operations are vectorised over texts; 64 functions take 128 bytes per text.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

from tutelage.corpus.repeats import connect, roots

SHINGLE = 3  # tokens: short enough for a question of ten words, long enough that single common words do not match
FUNCTIONS = 64
BAND = 4  # 16-bit values, so that a band is one 64-bit number
_SEED = 20240229
_COMPARED_AT_ONCE = 1 << 15  # pairs

_SPACE, _IN_WORD, _ALONE = 0, 1, 2
# Scripts without spaces: each character counts as a word.
_UNSPACED = ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x2E80, 0x31FF), (0x3400, 0x9FFF), (0xF900, 0xFAFF))
_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2**64


class Hashes(NamedTuple):
    """Hashes of the tokens or shingles of N texts, concatenated. values: uint64[S]; bounds: int64[N + 1]; those of text
    i are values[bounds[i]:bounds[i+1]]."""

    values: np.ndarray
    bounds: np.ndarray


def token_hashes(texts: Sequence[str]) -> Hashes:
    """The tokens of each text, in order: lower-cased words, and every other visible character. In scripts without
    spaces every character is a word."""
    lowered = [text.lower() for text in texts]
    ends = np.cumsum([len(text) for text in lowered], dtype=np.int64)
    codes, kinds = _read("".join(lowered))
    in_word, alone = kinds == _IN_WORD, kinds == _ALONE
    # True where a character is not in the same word as the one before it. A word never crosses a text boundary.
    apart = np.ones(len(codes) + 1, bool)
    np.logical_and(in_word[1:], in_word[:-1], out=apart[1:-1])
    np.logical_not(apart[1:-1], out=apart[1:-1])
    apart[ends] = True
    starts = np.flatnonzero(alone | (in_word & apart[:-1]))
    stops = np.flatnonzero(alone | (in_word & apart[1:])) + 1
    bounds = np.concatenate([[0], np.searchsorted(starts, ends)]).astype(np.int64)
    return Hashes(_range_hashes(codes, starts, stops), bounds)


def _read(text: str) -> tuple[np.ndarray, np.ndarray]:
    """The code points of a text, and their classes: white space, part of a word, or a token by itself."""
    if text.isascii():
        spelled = text.encode()
        return np.frombuffer(spelled, np.uint8), np.frombuffer(spelled.translate(_kinds()[:256].tobytes()), np.uint8)
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    return codes, _kinds().take(codes, mode="clip")


def shingles(tokens: Hashes, width: int = SHINGLE) -> Hashes:
    """Every run of `width` tokens of each text. A shorter text is one shingle; an empty one has none."""
    counts = np.diff(tokens.bounds)
    made = np.where(counts < width, np.minimum(counts, 1), counts - width + 1)
    bounds = np.concatenate([[0], np.cumsum(made)]).astype(np.int64)
    # The index of each shingle within its text, plus the start of the text's tokens.
    starts = np.arange(bounds[-1]) + np.repeat(tokens.bounds[:-1] - bounds[:-1], made)
    stops = np.minimum(starts + width, np.repeat(tokens.bounds[1:], made))
    return Hashes(_range_hashes(tokens.values, starts, stops), bounds)


def text_hashes(tokens: Hashes) -> np.ndarray:
    """One hash per text over its tokens in order, uint64[N]."""
    return _range_hashes(tokens.values, tokens.bounds[:-1], tokens.bounds[1:])


def signatures(found: Hashes) -> np.ndarray:
    """The MinHash signature of each text, uint16[N, FUNCTIONS]; all 65535 for a text without shingles."""
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
        # Minima have leading zeros, so their low bits carry the information.
        made[filled, number] = np.minimum.reduceat(hashed, starts).astype(np.uint16)
    return made


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
    count: int, keys: Iterable[np.ndarray], alike: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> np.ndarray:
    """Cluster `count` texts. Returns per text the index of the first text of its cluster, int64[count].

    keys:  columns, uint64[count] each; texts with an equal key are candidates.
    alike: function from two index arrays to bool, pair by pair: whether to join them.

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
            apart = roots(labels, before) != roots(labels, after)
            left, right = before[apart], after[apart]
            joined = alike(left, right)
            connect(labels, left[joined], right[joined])
    return roots(labels, np.arange(count))


def near_duplicates(signatures: np.ndarray, threshold: float = 0.8) -> np.ndarray:
    """`clusters` of texts whose estimated similarity is at least the threshold."""

    def alike(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        return agreement(signatures, left, right) >= threshold

    return clusters(len(signatures), band_keys(signatures), alike)


def _range_hashes(values: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """A hash of each run values[start:stop], uint64: a polynomial modulo 2**64, from prefix sums."""
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
    """Mix the bits of `values` in place (the finaliser of SplitMix64). Returns `values`."""
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
    """The class of each character below U+10000, uint8: white space, part of a word, or a token by itself. All
    characters above are read as the last one, a token by itself."""
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
