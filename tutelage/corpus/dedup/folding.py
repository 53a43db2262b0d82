"""Text normalisation for near-duplicate search: lower case, digits as 0, no accents, no punctuation. Given as lookup
tables for a compiled loop."""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import NamedTuple

import numpy as np

from tutelage.corpus.kinds import WITHOUT_SPACES

BREAK, IN_WORD, ALONE, SILENT = 0, 1, 2, 3  # ends a word; is part of one; is a word by itself; is ignored
LAST = 0x1FFFF  # all characters from here on are rare ideographs

_BASE = 0x100000001B3


class Folding(NamedTuple):
    """Tables over all characters up to LAST.

    kinds: uint8, one of the four classes above.
    scales, adds: uint64; a character turns the hash of its word into hash * scales + adds. A character that decomposes
                  into several, such as a Hangul syllable, has their combined effect.
    """

    kinds: np.ndarray
    scales: np.ndarray
    adds: np.ndarray


@cache
def folding() -> Folding:
    """The tables. Computed once, in a fraction of a second."""
    kinds = np.zeros(LAST + 1, np.uint8)
    scales, adds = np.ones(LAST + 1, np.uint64), np.zeros(LAST + 1, np.uint64)
    for code in range(LAST):
        kinds[code], scales[code], adds[code] = _folded(chr(code))
    kinds[LAST], scales[LAST] = ALONE, _BASE
    for first, last in WITHOUT_SPACES:  # each character counts as a word
        part = kinds[first : last + 1]
        part[part == IN_WORD] = ALONE
    return Folding(kinds, scales, adds)


def _folded(character: str) -> tuple[int, int, int]:
    category = unicodedata.category(character)
    if category == "Mn":
        return SILENT, 1, 0
    if category[0] in "PSZC" and category not in ("Cn", "Co"):
        return BREAK, 1, 0
    scale, add = 1, 0
    for part in unicodedata.normalize("NFD", character.lower()):
        if unicodedata.category(part) != "Mn":
            value = ord("0") if unicodedata.category(part) == "Nd" else ord(part)
            scale, add = scale * _BASE % (1 << 64), (add * _BASE + value) % (1 << 64)
    return IN_WORD, scale, add
