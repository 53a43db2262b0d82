"""Compiled loops over the characters and words of many texts. Only `words` and the filters import this, lazily: numba
is in the extra `corpus`, and importing it takes a second.

All texts are concatenated; arrays of starts and stops give the range of each.
Shape suffixes: C characters, W words, L lines, N texts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from tutelage.corpus.kinds import (
    BREAK,
    EDGE,
    ICON,
    LAST,
    LETTER,
    LOWER,
    NUMBER,
    SPACE,
    SYMBOL,
    TERMINAL,
    UNSPACED,
    UPPER,
)

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(29)
_DOT, _QUOTE, _CURLY, _SLASH, _COLON, _COMMA = 0x2E, 0x27, 0x2019, 0x2F, 0x3A, 0x2C
_FEED, _RETURN = 0x0A, 0x0D
_HYPHENS = (0x2D, 0x2013, 0x2014, 0x7E)
_JOINTS = (_COLON, _SLASH, 0x3C, 0x3D, 0x3E)  # : / < = >
_LOWERED = 32  # the bit that differs between lower and upper case in ASCII


@njit(cache=True, inline="always")
def _kind(kinds: np.ndarray, code: Any) -> int:
    return kinds[min(code, LAST)]


@njit(cache=True)
def hash_run(codes: np.ndarray, start: int, stop: int) -> Any:
    """Case-sensitive hash of codes[start:stop]."""
    value = np.uint64(stop - start)
    for at in range(start, stop):
        value = (value ^ np.uint64(codes[at])) * _MULTIPLIER
        value ^= value >> _SHIFT
    return value


@njit(cache=True)
def split_spaced(
    codes: np.ndarray, kinds: np.ndarray, text_starts: np.ndarray, text_stops: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Split at white space. Returns starts int32[W], stops int32[W], hashes uint64[W], the union of the character
    classes uint16[W], and the range of each text's words: first and last, int64[N] each."""
    room = 0
    for text in range(len(text_starts)):
        room += (text_stops[text] - text_starts[text] + 1) // 2
    starts, stops = np.empty(room, np.int32), np.empty(room, np.int32)
    hashes, found = np.empty(room, np.uint64), np.empty(room, np.uint16)
    firsts, lasts = np.empty(len(text_starts), np.int64), np.empty(len(text_starts), np.int64)
    count = 0
    for text in range(len(text_starts)):
        firsts[text] = count
        at, end = text_starts[text], text_stops[text]
        while at < end:
            kind = _kind(kinds, codes[at])
            if kind & SPACE:
                at += 1
                continue
            begin, kinds_of = at, np.uint16(0)
            while at < end:
                kind = _kind(kinds, codes[at])
                if kind & SPACE:
                    break
                kinds_of |= kind if kind & SYMBOL else (kind | np.uint16(1 << 15))
                at += 1
            starts[count], stops[count], found[count] = begin, at, kinds_of
            hashes[count] = hash_run(codes, begin, at)
            count += 1
        lasts[text] = count
    return starts[:count].copy(), stops[:count].copy(), hashes[:count].copy(), found[:count].copy(), firsts, lasts


@njit(cache=True)
def split_tokens(
    codes: np.ndarray, kinds: np.ndarray, text_starts: np.ndarray, text_stops: np.ndarray, abbreviations: np.ndarray
) -> tuple[np.ndarray, ...]:
    """As `split_spaced`, but punctuation marks and the second halves of contractions are separate words."""
    room = 0
    for text in range(len(text_starts)):
        room += text_stops[text] - text_starts[text]
    starts, stops = np.empty(room, np.int32), np.empty(room, np.int32)
    firsts, lasts = np.empty(len(text_starts), np.int64), np.empty(len(text_starts), np.int64)
    count = 0
    for text in range(len(text_starts)):
        firsts[text] = count
        at, end = text_starts[text], text_stops[text]
        while at < end:
            if _kind(kinds, codes[at]) & SPACE:
                at += 1
                continue
            begin, plain = at, True
            while at < end:
                kind = _kind(kinds, codes[at])
                if kind & SPACE:
                    break
                plain = plain and not kind & SYMBOL
                at += 1
            if plain:  # most words
                starts[count], stops[count] = begin, at
                count += 1
            else:
                count = _cut_chunk(codes, kinds, begin, at, starts, stops, count, abbreviations)
        lasts[text] = count
    hashes, found = np.empty(count, np.uint64), np.empty(count, np.uint16)
    for word in range(count):
        kinds_of = np.uint16(0)
        for place in range(starts[word], stops[word]):
            kind = _kind(kinds, codes[place])
            kinds_of |= kind if kind & SYMBOL else (kind | np.uint16(1 << 15))
        found[word] = kinds_of
        hashes[word] = hash_run(codes, starts[word], stops[word])
    return starts[:count].copy(), stops[:count].copy(), hashes, found, firsts, lasts


@njit(cache=True)
def split_plain(
    codes: np.ndarray, kinds: np.ndarray, lowered: np.ndarray, text_starts: np.ndarray, text_stops: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Words for comparing texts, without case and punctuation. Returns starts and stops int32[W], hashes uint64[W], and
    the number of words of each text, int64[N]."""
    room = 0
    for text in range(len(text_starts)):
        room += text_stops[text] - text_starts[text]
    starts, stops = np.empty(room, np.int32), np.empty(room, np.int32)
    hashes, counts = np.empty(room, np.uint64), np.empty(len(text_starts), np.int64)
    count = 0
    for text in range(len(text_starts)):
        before = count
        at, end = text_starts[text], text_stops[text]
        while at < end:
            kind = _kind(kinds, codes[at])
            if kind & (SPACE | SYMBOL):
                at += 1
                continue
            starts[count], value = at, np.uint64(0)
            alone = kind & UNSPACED
            while at < end and not kind & (SPACE | SYMBOL) and (kind & UNSPACED) == alone:
                code = codes[at]
                value = (value ^ np.uint64(lowered[code] if code <= LAST else code)) * _MULTIPLIER
                value ^= value >> _SHIFT
                at += 1
                if alone or at == end:
                    break
                kind = _kind(kinds, codes[at])
            stops[count], hashes[count] = at, value
            count += 1
        counts[text] = count - before
    return starts[:count].copy(), stops[:count].copy(), hashes[:count].copy(), counts


@njit(cache=True)
def _cut_chunk(
    codes: np.ndarray,
    kinds: np.ndarray,
    begin: int,
    end: int,
    starts: np.ndarray,
    stops: np.ndarray,
    count: int,
    abbreviations: np.ndarray,
) -> int:
    """Append the words of a space-delimited span after the first `count` words. Returns the new count."""
    left, right = begin, end
    while left < right:
        dots = _dots(codes, left, right)
        if (dots < 2 and not _kind(kinds, codes[left]) & EDGE) or _contraction(codes, left, right) == left:
            break
        starts[count], stops[count] = left, left + max(dots, 1)
        left, count = stops[count], count + 1
    while right > left:
        last = codes[right - 1]
        if last == _DOT:
            first = right - 1
            while first > left and codes[first - 1] == _DOT:
                first -= 1
            if right - first == 1 and not _ends_word(codes, kinds, left, first, abbreviations):
                break
            right = first
        elif _kind(kinds, last) & EDGE:
            right -= 1
        else:
            break
    tail = _contraction(codes, left, right)
    count = _cut_inside(codes, kinds, left, tail, starts, stops, count)
    if tail < right:
        starts[count], stops[count] = tail, right
        count += 1
    while right < end:
        starts[count], stops[count] = right, right + max(_dots(codes, right, end), 1)
        right, count = stops[count], count + 1
    return count


@njit(cache=True)
def _dots(codes: np.ndarray, start: int, stop: int) -> int:
    """The number of consecutive full stops here."""
    at = start
    while at < stop and codes[at] == _DOT:
        at += 1
    return at - start


@njit(cache=True)
def _ends_word(codes: np.ndarray, kinds: np.ndarray, start: int, dot: int, abbreviations: np.ndarray) -> bool:
    """Whether the full stop at `dot` is separate from the word before it, which is no abbreviation or initial."""
    if dot == start:
        return False
    before = _kind(kinds, codes[dot - 1])
    if before & UPPER:
        return dot - start > 1 and bool(_kind(kinds, codes[dot - 2]) & UPPER)
    return not is_among(hash_run(codes, start, dot), abbreviations)


@njit(cache=True)
def is_among(value: Any, choices: np.ndarray) -> Any:
    """Whether a value is in a sorted array."""
    place = np.searchsorted(choices, value)
    return place < len(choices) and choices[place] == value


@njit(cache=True)
def _contraction(codes: np.ndarray, start: int, stop: int) -> int:
    """The start of the second half of a contraction ('s, 'm, 'd, 'll, 're, 've, n't); `stop` if there is none."""
    for back in (2, 3):
        mark = stop - back
        if mark >= start and (codes[mark] == _QUOTE or codes[mark] == _CURLY):
            one, two = np.int64(codes[mark + 1]) | _LOWERED, np.int64(codes[stop - 1]) | _LOWERED
            if back == 2:
                if one in (ord("s"), ord("m"), ord("d")):
                    return mark
                if one == ord("t") and mark - 1 >= start and np.int64(codes[mark - 1]) | _LOWERED == ord("n"):
                    return mark - 1
            elif (one == ord("l") and two == ord("l")) or (one in (ord("r"), ord("v")) and two == ord("e")):
                return mark
    return stop


@njit(cache=True)
def _cut_inside(
    codes: np.ndarray, kinds: np.ndarray, start: int, stop: int, starts: np.ndarray, stops: np.ndarray, count: int
) -> int:
    """Split a word at hyphens, slashes and the like between letters, but not inside a URL."""
    begin, at = start, start + 1
    while at < stop - 1:
        width = _infix(codes, kinds, start, at, stop)
        if width < 0:
            break
        if width > 0:
            starts[count], stops[count] = begin, at
            starts[count + 1], stops[count + 1] = at, at + width
            count += 2
            begin = at + width
            at = begin
        at += 1
    if begin < stop:
        starts[count], stops[count] = begin, stop
        count += 1
    return count


@njit(cache=True)
def _infix(codes: np.ndarray, kinds: np.ndarray, start: int, at: int, stop: int) -> int:
    """The number of characters here that separate two words: 0 for none, -1 if the whole is a URL."""
    code = np.int64(codes[at])
    kind = _kind(kinds, code)
    if kind & (LETTER | NUMBER):
        return 0
    if kind & ICON:
        return 1
    if code == _COLON and stop - at > 2 and codes[at + 1] == _SLASH and codes[at + 2] == _SLASH:
        return -1
    width = 1
    while at + width < stop - 1 and codes[at + width] == code and width < 3:
        width += 1
    before, after = _kind(kinds, codes[at - 1]), _kind(kinds, codes[at + width])
    if code == _DOT:
        return width if width > 1 or (before & LOWER and after & UPPER) else 0
    letters = before & LETTER and after & LETTER
    if code in _HYPHENS:
        return width if letters or (before & NUMBER and after & NUMBER and width == 1) else 0
    if code == _COMMA:
        return 1 if letters and width == 1 else 0
    if code in _JOINTS:
        return 1 if before & (LETTER | NUMBER) and after & LETTER and width == 1 else 0
    return 0


@njit(cache=True)
def split_lines(
    codes: np.ndarray,
    kinds: np.ndarray,
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
            room += (_kind(kinds, codes[at]) & BREAK) // BREAK
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
            while at < end and (codes[at] != _FEED if not trimmed else not _kind(kinds, codes[at]) & BREAK):
                at += 1
                if not trimmed or not _kind(kinds, codes[at - 1]) & SPACE:
                    stop = at
            while trimmed and begin < stop and _kind(kinds, codes[begin]) & SPACE:
                begin += 1
            if begin < stop:
                starts[count], stops[count], apart[count] = begin, stop, blank
                hashes[count] = hash_run(codes, begin, stop)
                words[count], longest[count] = _words_of_line(codes, kinds, begin, stop)
                sentences[count] = _sentences(codes, kinds, begin, stop, abbreviations) if trimmed else 0
                count += 1
            blank = begin == stop
            at += 2 if at + 1 < end and codes[at] == _RETURN and codes[at + 1] == _FEED else 1
        lasts[text] = count
    return (
        starts[:count].copy(), stops[:count].copy(), hashes[:count].copy(), words[:count].copy(),
        longest[:count].copy(), sentences[:count].copy(), apart[:count].copy(), firsts, lasts,
    )  # fmt: skip


@njit(cache=True)
def _words_of_line(codes: np.ndarray, kinds: np.ndarray, start: int, stop: int) -> tuple[int, int]:
    words, longest, length = 0, 0, 0
    for at in range(start, stop):
        if _kind(kinds, codes[at]) & SPACE:
            length = 0
        else:
            words += length == 0
            length += 1
            longest = max(longest, length)
    return words, longest


@njit(cache=True)
def _sentences(codes: np.ndarray, kinds: np.ndarray, start: int, stop: int, abbreviations: np.ndarray) -> int:
    """The number of sentences of a line. A terminal mark, with optional closing quotes, ends one before white space,
    except full stops of abbreviations and initials, and rows of dots. A remainder counts as one more."""
    count, at, word, open_one = 0, start, start, False
    while at < stop:
        kind = _kind(kinds, codes[at])
        if kind & SPACE:
            word = at + 1
        elif not kind & TERMINAL:
            open_one = True
        else:
            mark, dots = at, _dots(codes, at, stop)
            while at + 1 < stop and _kind(kinds, codes[at + 1]) & (TERMINAL | EDGE):
                at += 1
            last = at + 1 == stop
            if open_one and (last or _kind(kinds, codes[at + 1]) & SPACE):
                # Checked only at the last mark before white space, so that long runs of marks stay linear in time.
                alone = dots == 1 and at == mark
                if last or (dots < 2 and not (alone and not _closes(codes, kinds, word, mark, abbreviations))):
                    count, open_one = count + 1, False
        at += 1
    return count + open_one


@njit(cache=True)
def _closes(codes: np.ndarray, kinds: np.ndarray, start: int, dot: int, abbreviations: np.ndarray) -> bool:
    """Whether the full stop at `dot` ends a sentence: its word is neither a single capital letter nor an
    abbreviation."""
    while start < dot and _kind(kinds, codes[start]) & EDGE:
        start += 1
    if dot - start == 1 and _kind(kinds, codes[start]) & UPPER:
        return False
    return not is_among(hash_run(codes, start, dot), abbreviations)
