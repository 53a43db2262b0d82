"""What of a text counts where near duplicates are sought: lower case, every digit as 0, letters without accents, and
nothing of punctuation; as tables that a compiled loop looks up, for texts are long."""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import NamedTuple

import numpy as np

from tutelage.corpus.kinds import WITHOUT_SPACES

BREAK, IN_WORD, ALONE, SILENT = 0, 1, 2, 3  # ends a word; is part of one; is one by itself; is not there
LAST = 0x1FFFF  # all characters from here on are rare ideographs

_BASE = 0x100000001B3


class Folding(NamedTuple):
    """Of each character up to LAST: kinds uint8, and what it does to the hash of the word it is in, which becomes
    hash * scales + adds, uint64 each. A character that stands for several, such as a Hangul syllable, does what these
    would do one after the other."""

    kinds: np.ndarray
    scales: np.ndarray
    adds: np.ndarray


@cache
def folding() -> Folding:
    """The tables; made once, in a fraction of a second."""
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
    for one in unicodedata.normalize("NFD", character.lower()):
        if unicodedata.category(one) != "Mn":
            value = ord("0") if unicodedata.category(one) == "Nd" else ord(one)
            scale, add = scale * _BASE % (1 << 64), (add * _BASE + value) % (1 << 64)
    return IN_WORD, scale, add
