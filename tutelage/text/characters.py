"""Character classes and text normalisation, as lookup tables for compiled loops."""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import NamedTuple

import numpy as np

SPACE, BREAK, LETTER, NUMBER = 1, 2, 4, 8
LOWER, UPPER = 16, 32
SYMBOL = 64  # punctuation, symbols and control characters: words of these alone are not counted
TERMINAL = 128  # ends a sentence
EDGE = 256  # stripped from either end of a word: brackets, quotes, commas ...
ICON = 512  # pictographs: also cut out of the middle of a word
UNSPACED = 1024  # of a script without spaces: a word by itself in normalised words
CONTROL = 2048  # control and format characters: invisible

LAST = 0x1FFFF  # all characters above are read as this one; nearly all of them are rare letters

# The part of the Unicode property Sentence_Terminal in modern use: full stops, question and exclamation marks.
_TERMINALS = ".!?։؟۔܀܁܂߹।॥၊။።፧፨᙮᠃᠉។៕᥄᥅᪨᪩᭚᭛᭞᭟᰻᰼᱾᱿‼‽⁇⁈⁉⸮。꓿꘎꘏꛳꛷꡶꡷꣎꣏꤯꧈꧉꩝꩞꩟꫰꫱꯫﹒﹖﹗！．？｡"
_BREAKS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"  # as str.splitlines
# Scripts without spaces, by first and last character.
_UNSPACED = (
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x2E80, 0x31FF),
    (0x3400, 0x9FFF),
    (0xF900, 0xFAFF),
)
_EDGES = "<>…,:;!?¿؟¡_#*&。？！，、；：～·।،۔؛٪'\"`´%§=–—"

# Forms of normalised words: without case and marks; every mark a word; without accents and digits too (FineWeb).
PLAIN, MARKS, FOLDED = 0, 1, 2
# What a character does to a normalised word: ends it, is part of it, is a word by itself, or is ignored.
ENDS_WORD, IN_WORD, ALONE, SILENT = 0, 1, 2, 3
_FOLDED_BASE = 0x100000001B3


@cache
def character_classes() -> np.ndarray:
    """The classes of every character up to LAST, uint16[LAST + 1], as the bits above."""
    table = np.zeros(LAST + 1, np.uint16)
    for code in range(LAST):
        category = unicodedata.category(chr(code))
        if category in ("Cn", "Lo", "Co"):  # four of five
            table[code] = LETTER if category == "Lo" else SYMBOL
            continue
        table[code] = _class(chr(code), category)
    table[LAST] = LETTER
    for characters, bit in ((_BREAKS, BREAK), (_TERMINALS, TERMINAL), (_EDGES, EDGE)):
        table[[ord(character) for character in characters]] |= bit
    for first, last in _UNSPACED:
        table[first : last + 1] |= UNSPACED
    return table


def _class(character: str, category: str) -> int:
    if character.isspace():
        return SPACE
    if character.isalpha():
        return LETTER | (LOWER if category == "Ll" else UPPER if category in ("Lu", "Lt") else 0)
    if category[0] == "N":
        return NUMBER
    edge = EDGE if category in ("Ps", "Pe", "Pi", "Pf", "So", "Sc") else 0
    control = CONTROL if category in ("Cc", "Cf") else 0
    return (SYMBOL if category[0] in "PSC" else 0) | edge | control | (ICON if category == "So" else 0)


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


class NormalForm(NamedTuple):
    """Tables over all characters up to LAST, for one form of normalised words.

    roles: uint8, one of the four above.
    scales, adds: uint64, how a character changes the hash of its word. Folded: to hash * scales + adds; a character
                  that decomposes into several, such as a Hangul syllable, has their combined effect. Else `adds` is the
                  lower case of the character.
    """

    roles: np.ndarray
    scales: np.ndarray
    adds: np.ndarray


@cache
def normal_form(form: int) -> NormalForm:
    """The tables of PLAIN, MARKS or FOLDED. Computed once, in a fraction of a second."""
    scales = np.ones(LAST + 1, np.uint64)
    if form == FOLDED:
        roles, adds = np.zeros(LAST + 1, np.uint8), np.zeros(LAST + 1, np.uint64)
        for code in range(LAST):
            roles[code], scales[code], adds[code] = _folded(chr(code))
        roles[LAST], scales[LAST] = ALONE, _FOLDED_BASE
        for first, last in _UNSPACED:  # each character counts as a word
            part = roles[first : last + 1]
            part[part == IN_WORD] = ALONE
        return NormalForm(roles, scales, adds)
    classes = character_classes()
    alone, ends = (UNSPACED | SYMBOL, SPACE | CONTROL) if form == MARKS else (UNSPACED, SPACE | SYMBOL)
    roles = np.where(classes & ends, ENDS_WORD, np.where(classes & alone, ALONE, IN_WORD)).astype(np.uint8)
    if form == MARKS:
        roles[1 << 16 :] = ALONE
    return NormalForm(roles, scales, lowered().astype(np.uint64))


def _folded(character: str) -> tuple[int, int, int]:
    category = unicodedata.category(character)
    if category == "Mn":
        return SILENT, 1, 0
    if category[0] in "PSZC" and category not in ("Cn", "Co"):
        return ENDS_WORD, 1, 0
    scale, add = 1, 0
    for part in unicodedata.normalize("NFD", character.lower()):
        if unicodedata.category(part) != "Mn":
            value = ord("0") if unicodedata.category(part) == "Nd" else ord(part)
            scale, add = scale * _FOLDED_BASE % (1 << 64), (add * _FOLDED_BASE + value) % (1 << 64)
    return IN_WORD, scale, add


def is_unspaced(character: str) -> bool:
    """Whether a character is of a script that is written without spaces, or of its punctuation."""
    code = ord(character)
    return any(first <= code <= last for first, last in _UNSPACED) or 0xFF00 <= code <= 0xFF65
