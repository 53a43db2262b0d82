"""Compiled loops that split texts into words. Importing numba takes half a second, so nothing that a command line
needs imports this.

All texts are concatenated; arrays of starts and stops give the range of each.
Shape suffixes: C characters, W words, L lines, N texts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from tutelage.text.characters import (
    ALONE,
    EDGE,
    ENDS_WORD,
    FOLDED,
    ICON,
    IN_WORD,
    LAST,
    LETTER,
    LOWER,
    MARKS,
    NUMBER,
    PLAIN,
    SILENT,
    SPACE,
    SYMBOL,
    UNSPACED,
    UPPER,
)  # fmt: skip
from tutelage.text.hashing import GOLDEN, splitmix64

_SHIFT = np.uint64(29)
_NOT_UNSPACED = np.uint16(0xFFFF ^ UNSPACED)  # only letters make a word one of a script without spaces
_DOT, _QUOTE, _CURLY, _SLASH, _COLON, _COMMA = 0x2E, 0x27, 0x2019, 0x2F, 0x3A, 0x2C
_HYPHENS = (0x2D, 0x2013, 0x2014, 0x7E)
_JOINTS = (_COLON, _SLASH, 0x3C, 0x3D, 0x3E)  # : / < = >
_LOWERED = 32  # the bit that differs between lower and upper case in ASCII

mixed = njit(cache=True, inline="always")(splitmix64)


@njit(cache=True, inline="always")
def class_of(classes: np.ndarray, code: Any) -> int:
    """The class bits of a character."""
    return classes[min(code, LAST)]


@njit(cache=True)
def hash_run(codes: np.ndarray, start: int, stop: int) -> Any:
    """Case-sensitive hash of codes[start:stop]."""
    value = np.uint64(stop - start)
    for at in range(start, stop):
        value = (value ^ np.uint64(codes[at])) * GOLDEN
        value ^= value >> _SHIFT
    return value


@njit(cache=True)
def split_words(
    codes: np.ndarray,
    classes: np.ndarray,
    text_starts: np.ndarray,
    text_stops: np.ndarray,
    cut: bool,
    abbreviations: np.ndarray,
) -> tuple[np.ndarray, ...]:
    """Split at white space; with `cut`, punctuation marks and the second halves of contractions are separate words. In
    scripts without spaces each letter is a word, with the marks on it and, unless `cut`, the punctuation after it.

    Returns:
        starts, stops int32[W]; hashes uint64[W]; the union of the character classes, uint16[W]; and the range of each
        text's words: first and last, int64[N] each.
    """
    room = 0
    for text in range(len(text_starts)):
        room += text_stops[text] - text_starts[text]
    starts, stops = np.empty(room, np.int32), np.empty(room, np.int32)
    hashes, unions = np.empty(room, np.uint64), np.empty(room, np.uint16)
    firsts, lasts = np.empty(len(text_starts), np.int64), np.empty(len(text_starts), np.int64)
    count = 0
    for text in range(len(text_starts)):
        firsts[text] = count
        at, end = text_starts[text], text_stops[text]
        while at < end:
            if class_of(classes, codes[at]) & SPACE:
                at += 1
                continue
            begin, union = at, np.uint16(0)
            while at < end:
                kind = class_of(classes, codes[at])
                if kind & SPACE:
                    break
                union |= kind & _NOT_UNSPACED if kind & SYMBOL else (kind | np.uint16(1 << 15))
                at += 1
            if union & UNSPACED:
                before, count = count, _cut_unspaced(codes, classes, begin, at, starts, stops, count, cut)
                for word in range(before, count):
                    unions[word] = _union(codes, classes, starts[word], stops[word])
                    hashes[word] = hash_run(codes, starts[word], stops[word])
                continue
            if not cut or not union & SYMBOL:  # most words
                starts[count], stops[count], unions[count] = begin, at, union
                hashes[count] = hash_run(codes, begin, at)
                count += 1
                continue
            before, count = count, _cut_chunk(codes, classes, begin, at, starts, stops, count, abbreviations)
            for word in range(before, count):
                unions[word] = _union(codes, classes, starts[word], stops[word])
                hashes[word] = hash_run(codes, starts[word], stops[word])
        lasts[text] = count
    return starts[:count].copy(), stops[:count].copy(), hashes[:count].copy(), unions[:count].copy(), firsts, lasts


@njit(cache=True)
def _union(codes: np.ndarray, classes: np.ndarray, start: int, stop: int) -> Any:
    union = np.uint16(0)
    for at in range(start, stop):
        kind = class_of(classes, codes[at])
        union |= kind & _NOT_UNSPACED if kind & SYMBOL else (kind | np.uint16(1 << 15))
    return union


@njit(cache=True)
def split_normalized(
    codes: np.ndarray,
    text_starts: np.ndarray,
    text_stops: np.ndarray,
    roles: np.ndarray,
    scales: np.ndarray,
    adds: np.ndarray,
    form: int,
    placed: bool,
) -> tuple[np.ndarray, ...]:
    """Words for comparing texts, by the tables of `characters.normal_form`. Returns the start and stop of each word,
    int32[W, 2], if `placed`; hashes uint64[W], and the number of words of each text, int64[N].

    The forms hash words by formulas of their own, because the hashes decide what is in corpora made so far.
    """
    spans = np.empty((len(codes) if placed else 1, 2), np.int32)
    hashes, counts = np.empty(len(codes), np.uint64), np.empty(len(text_starts), np.int64)
    count = 0
    value, power = np.uint64(0), np.uint64(1)
    for text in range(len(text_starts)):
        before, in_word = count, False
        for at in range(text_starts[text], text_stops[text]):
            code = codes[at]
            place = min(code, LAST)
            role = roles[place]
            if role == SILENT:
                continue
            if in_word and role != IN_WORD:
                spans[count if placed else 0, 1] = at
                hashes[count], in_word = _finished(value, form), False
                count += 1
            if role == ENDS_WORD:
                continue
            if not in_word:
                spans[count if placed else 0, 0], in_word = at, True
                value, power = np.uint64(form == FOLDED), np.uint64(1)
            add = adds[place] if code < LAST else np.uint64(code)
            if form == PLAIN:
                value = (value ^ add) * GOLDEN
                value ^= value >> _SHIFT
            elif form == MARKS:
                value += add * power
                power *= GOLDEN
            else:
                value = value * scales[place] + add
            if role == ALONE:
                spans[count if placed else 0, 1] = at + 1
                hashes[count], in_word = _finished(value, form), False
                count += 1
        if in_word:
            spans[count if placed else 0, 1], hashes[count] = text_stops[text], _finished(value, form)
            count += 1
        counts[text] = count - before
    return spans[: count if placed else 0], hashes[:count].copy(), counts


@njit(cache=True, inline="always")
def _finished(value: Any, form: int) -> Any:
    """The hash of a word that ends."""
    if form == PLAIN:
        return value
    return mixed(value + GOLDEN) if form == MARKS else mixed(value)


@njit(cache=True)
def _cut_unspaced(
    codes: np.ndarray,
    classes: np.ndarray,
    begin: int,
    end: int,
    starts: np.ndarray,
    stops: np.ndarray,
    count: int,
    cut: bool,
) -> int:
    """Append the words of a space-delimited span with characters of a script without spaces. Returns the new count."""
    within = 0  # what the open word is: nothing, a letter of such a script, a run of other letters, a mark
    for at in range(begin, end):
        kind = class_of(classes, codes[at])
        if kind & LETTER and kind & UNSPACED:
            here = 1
        elif kind & (LETTER | NUMBER):
            here = 2
        else:
            here = 3 if kind & SYMBOL else 0
        new = here == 1 or (here == 2 and within != 2) or (here == 3 and cut) or within == 0
        if within == 3 and here and cut:
            new = True
        if new:
            starts[count] = at
            count += 1
            within = here if here else 1
        stops[count - 1] = at + 1
    return count


@njit(cache=True)
def _cut_chunk(
    codes: np.ndarray,
    classes: np.ndarray,
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
        dots = count_dots(codes, left, right)
        if (dots < 2 and not class_of(classes, codes[left]) & EDGE) or _contraction(codes, left, right) == left:
            break
        starts[count], stops[count] = left, left + max(dots, 1)
        left, count = stops[count], count + 1
    while right > left:
        last = codes[right - 1]
        if last == _DOT:
            first = right - 1
            while first > left and codes[first - 1] == _DOT:
                first -= 1
            if right - first == 1 and not _ends_word(codes, classes, left, first, abbreviations):
                break
            right = first
        elif class_of(classes, last) & EDGE:
            right -= 1
        else:
            break
    tail = _contraction(codes, left, right)
    count = _cut_inside(codes, classes, left, tail, starts, stops, count)
    if tail < right:
        starts[count], stops[count] = tail, right
        count += 1
    while right < end:
        starts[count], stops[count] = right, right + max(count_dots(codes, right, end), 1)
        right, count = stops[count], count + 1
    return count


@njit(cache=True)
def count_dots(codes: np.ndarray, start: int, stop: int) -> int:
    """The number of consecutive full stops here."""
    at = start
    while at < stop and codes[at] == _DOT:
        at += 1
    return at - start


@njit(cache=True)
def _ends_word(codes: np.ndarray, classes: np.ndarray, start: int, dot: int, abbreviations: np.ndarray) -> bool:
    """Whether the full stop at `dot` is separate from the word before it, which is no abbreviation or initial."""
    if dot == start:
        return False
    before = class_of(classes, codes[dot - 1])
    if before & UPPER:
        return dot - start > 1 and bool(class_of(classes, codes[dot - 2]) & UPPER)
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
    codes: np.ndarray, classes: np.ndarray, start: int, stop: int, starts: np.ndarray, stops: np.ndarray, count: int
) -> int:
    """Split a word at hyphens, slashes and the like between letters, but not inside a URL."""
    begin, at = start, start + 1
    while at < stop - 1:
        width = _infix(codes, classes, start, at, stop)
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
def _infix(codes: np.ndarray, classes: np.ndarray, start: int, at: int, stop: int) -> int:
    """The number of characters here that separate two words: 0 for none, -1 if the whole is a URL."""
    code = np.int64(codes[at])
    kind = class_of(classes, code)
    if kind & (LETTER | NUMBER):
        return 0
    if kind & ICON:
        return 1
    if code == _COLON and stop - at > 2 and codes[at + 1] == _SLASH and codes[at + 2] == _SLASH:
        return -1
    width = 1
    while at + width < stop - 1 and codes[at + width] == code and width < 3:
        width += 1
    before, after = class_of(classes, codes[at - 1]), class_of(classes, codes[at + width])
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
