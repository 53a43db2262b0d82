"""Character classes, as a lookup table for compiled loops."""

from __future__ import annotations

import unicodedata
from functools import cache

import numpy as np

SPACE, BREAK, LETTER, NUMBER = 1, 2, 4, 8
LOWER, UPPER = 16, 32
SYMBOL = 64  # punctuation, symbols and control characters: words of these alone are not counted
TERMINAL = 128  # ends a sentence
EDGE = 256  # stripped from either end of a word: brackets, quotes, commas ...
ICON = 512  # pictographs: also cut out of the middle of a word
UNSPACED = 1024  # of a script without spaces: a word by itself in normalised words

LAST = 0x1FFFF  # all characters above are read as this one; nearly all of them are rare letters

# The part of the Unicode property Sentence_Terminal in modern use: full stops, question and exclamation marks.
_TERMINALS = ".!?։؟۔܀܁܂߹।॥၊။።፧፨᙮᠃᠉។៕᥄᥅᪨᪩᭚᭛᭞᭟᰻᰼᱾᱿‼‽⁇⁈⁉⸮。꓿꘎꘏꛳꛷꡶꡷꣎꣏꤯꧈꧉꩝꩞꩟꫰꫱꯫﹒﹖﹗！．？｡"
_BREAKS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"  # as str.splitlines
# Scripts without spaces, by first and last character.
WITHOUT_SPACES = (
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x2E80, 0x31FF),
    (0x3400, 0x9FFF),
    (0xF900, 0xFAFF),
)
_EDGES = "<>…,:;!?¿؟¡_#*&。？！，、；：～·।،۔؛٪'\"`´%§=–—"


@cache
def kinds() -> np.ndarray:
    """The classes of every character up to LAST, uint16[LAST + 1], as the bits above."""
    table = np.zeros(LAST + 1, np.uint16)
    for code in range(LAST):
        category = unicodedata.category(chr(code))
        if category in ("Cn", "Lo", "Co"):  # four of five
            table[code] = LETTER if category == "Lo" else SYMBOL
            continue
        table[code] = _kind(chr(code), category)
    table[LAST] = LETTER
    for characters, bit in ((_BREAKS, BREAK), (_TERMINALS, TERMINAL), (_EDGES, EDGE)):
        table[[ord(character) for character in characters]] |= bit
    for first, last in WITHOUT_SPACES:
        table[first : last + 1] |= UNSPACED
    return table


@cache
def lowered() -> np.ndarray:
    """The lower case of every character up to LAST, uint32[LAST + 1]; the character itself if there is none, or if it
    is longer than one character."""
    table = np.arange(LAST + 1, dtype=np.uint32)
    for code in range(LAST):
        small = chr(code).lower()
        if len(small) == 1:
            table[code] = ord(small)
    return table


def _kind(character: str, category: str) -> int:
    if character.isspace():
        return SPACE
    if character.isalpha():
        return LETTER | (LOWER if category == "Ll" else UPPER if category in ("Lu", "Lt") else 0)
    if category[0] == "N":
        return NUMBER
    edge = EDGE if category in ("Ps", "Pe", "Pi", "Pf", "So", "Sc") else 0
    return (SYMBOL if category[0] in "PSC" else 0) | edge | (ICON if category == "So" else 0)
