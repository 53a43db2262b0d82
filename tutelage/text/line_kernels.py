"""Compiled loops that split texts into lines and count their sentences. Shape suffixes as in `kernels`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from tutelage.text.characters import BREAK, EDGE, LETTER, NUMBER, SPACE, TERMINAL, UNSPACED, UPPER
from tutelage.text.kernels import class_of, count_dots, hash_run, is_among

_FEED, _RETURN = 0x0A, 0x0D
_WIDE = 0xFE50  # marks of full width from here on


@njit(cache=True)
def split_lines(
    codes: np.ndarray,
    classes: np.ndarray,
    text_starts: np.ndarray,
    text_stops: np.ndarray,
    trimmed: bool,
    abbreviations: np.ndarray,
) -> tuple[Any, ...]:
    """Split into lines: if `trimmed`, non-blank lines without surrounding white space; else all non-empty lines between
    line feeds.

    Returns:
        starts, stops int32[L]; hashes uint64[L]; words, longest word, sentences int32[L]; whether a blank line
        precedes, bool[L]; the range of each text's lines: first and last, int64[N] each.
    """
    room = 0
    for text in range(len(text_starts)):
        for at in range(text_starts[text], text_stops[text]):
            room += (class_of(classes, codes[at]) & BREAK) // BREAK
        room += 1
    starts, stops, hashes = np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room, np.uint64)
    words, longest, sentences = np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room, np.int32)
    apart = np.empty(room, np.bool_)
    firsts, lasts = np.empty(len(text_starts), np.int64), np.empty(len(text_starts), np.int64)
    count = 0
    for text in range(len(text_starts)):
        firsts[text] = count
        at, end = text_starts[text], text_stops[text]
        blank = True
        while at < end:
            begin, stop = at, at
            while at < end and (codes[at] != _FEED if not trimmed else not class_of(classes, codes[at]) & BREAK):
                at += 1
                if not trimmed or not class_of(classes, codes[at - 1]) & SPACE:
                    stop = at
            while trimmed and begin < stop and class_of(classes, codes[begin]) & SPACE:
                begin += 1
            if begin < stop:
                starts[count], stops[count], apart[count] = begin, stop, blank
                hashes[count] = hash_run(codes, begin, stop)
                words[count], longest[count] = _words_of_line(codes, classes, begin, stop)
                sentences[count] = _sentences(codes, classes, begin, stop, abbreviations) if trimmed else 0
                count += 1
            blank = begin == stop
            at += 2 if at + 1 < end and codes[at] == _RETURN and codes[at + 1] == _FEED else 1
        lasts[text] = count
    return (
        starts[:count].copy(), stops[:count].copy(), hashes[:count].copy(), words[:count].copy(),
        longest[:count].copy(), sentences[:count].copy(), apart[:count].copy(), firsts, lasts,
    )  # fmt: skip


@njit(cache=True)
def _words_of_line(codes: np.ndarray, classes: np.ndarray, start: int, stop: int) -> tuple[int, int]:
    words, longest, length, single = 0, 0, 0, False
    for at in range(start, stop):
        kind = class_of(classes, codes[at])
        if kind & SPACE:
            length, single = 0, False
        elif kind & UNSPACED and kind & LETTER:  # a word by itself, with the marks after it
            words, longest, length, single = words + 1, max(longest, 1), 1, True
        else:
            if single and kind & (LETTER | NUMBER):
                length, single = 0, False
            words += length == 0
            length += 1
            longest = max(longest, length)
    return words, longest


@njit(cache=True)
def _sentences(codes: np.ndarray, classes: np.ndarray, start: int, stop: int, abbreviations: np.ndarray) -> int:
    """The number of sentences of a line. A terminal mark, with optional closing quotes, ends one before white space,
    except full stops of abbreviations and initials, and rows of dots; in scripts without spaces it needs no white
    space. A remainder counts as one more."""
    count, at, word, open_one = 0, start, start, False
    while at < stop:
        kind = class_of(classes, codes[at])
        if kind & SPACE:
            word = at + 1
        elif not kind & TERMINAL:
            open_one = True
        else:
            mark, dots = at, count_dots(codes, at, stop)
            wide = kind & UNSPACED or codes[at] >= _WIDE
            beside = at > start and class_of(classes, codes[at - 1]) & UNSPACED
            while at + 1 < stop and class_of(classes, codes[at + 1]) & (TERMINAL | EDGE):
                at += 1
            last = at + 1 == stop
            if (
                open_one
                and not last
                and dots < 2
                and (wide or (beside and class_of(classes, codes[at + 1]) & UNSPACED))
            ):
                count, open_one = count + 1, False
            elif open_one and (last or class_of(classes, codes[at + 1]) & SPACE):
                # Checked only at the last mark before white space, so that long runs of marks stay linear in time.
                alone = dots == 1 and at == mark
                if last or (dots < 2 and not (alone and not _closes(codes, classes, word, mark, abbreviations))):
                    count, open_one = count + 1, False
        at += 1
    return count + open_one


@njit(cache=True)
def _closes(codes: np.ndarray, classes: np.ndarray, start: int, dot: int, abbreviations: np.ndarray) -> bool:
    """Whether the full stop at `dot` ends a sentence: its word is neither a single capital letter nor an
    abbreviation."""
    while start < dot and class_of(classes, codes[start]) & EDGE:
        start += 1
    if dot - start == 1 and class_of(classes, codes[start]) & UPPER:
        return False
    return not is_among(hash_run(codes, start, dot), abbreviations)
