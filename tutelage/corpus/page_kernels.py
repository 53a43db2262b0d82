"""A compiled loop over the HTML of a tree: where its elements are, and how much text each holds. Shape suffixes: K
known tags."""

from __future__ import annotations

import numpy as np
from numba import njit

# What a tag is: bits of `kinds`.
INLINE, HOLDER, PARAGRAPH, TITLE, SENTENCE, LINK, FIGURE, VOID, RAW, TEMPLATE = (1 << bit for bit in range(10))
# What stands beside an element: a text that is not blank.
BEFORE, AFTER = 1, 2
# The fields of an element. PARENT: -1 for the first. STOP: 1 + its last descendant. CHARACTERS: the visible ones of its
# text; LINKED: those in the links in it. PARAGRAPHS: right inside. TITLES: inside. NAMES: the bounds of its class and
# its id in the page, -1 where it has none.
KIND, PARENT, STOP, CHARACTERS, LINKED, PARAGRAPHS, TITLES, BESIDE, NAMES = range(9)
FIELDS = NAMES + 4

_MAX_OPEN = 4096  # elements inside of each other; deeper ones count as text of the last
_LESS, _GREATER, _SLASH, _BANG, _MARK, _QUOTE, _EQUAL, _AND, _SEMICOLON = 60, 62, 47, 33, 63, 34, 61, 38, 59
_SPACE, _TAB, _FEED = 32, 9, 10
_OFFSET, _PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)


@njit(cache=True)
def hash_name(page: np.ndarray, begin: int, end: int) -> np.uint64:
    """FNV-1a of some bytes, in lower case."""
    value = _OFFSET
    for at in range(begin, end):
        byte = page[at]
        if 65 <= byte <= 90:
            byte += 32
        value = (value ^ np.uint64(byte)) * _PRIME
    return value


@njit(cache=True)
def _kind(names_K: np.ndarray, kinds_K: np.ndarray, name: np.uint64) -> int:
    at = np.searchsorted(names_K, name)
    return kinds_K[at] if at < len(names_K) and names_K[at] == name else 0


@njit(cache=True)
def _name_end(page: np.ndarray, at: int) -> int:
    while at < len(page) and page[at] not in (_GREATER, _SLASH, _SPACE, _TAB, _FEED, _EQUAL):
        at += 1
    return at


@njit(cache=True)
def _attributes(page: np.ndarray, at: int, spans: np.ndarray, names: np.ndarray) -> int:
    """The place after a tag. Writes the bounds of the values of the attributes `names` (class, id) to `spans`; a bound
    is -1 where there is none."""
    spans[:] = -1
    while at < len(page) and page[at] != _GREATER:
        if page[at] in (_SPACE, _TAB, _FEED, _SLASH):
            at += 1
            continue
        begin = at
        at = max(_name_end(page, at), begin + 1)
        name = hash_name(page, begin, at)
        begin = end = at
        if at + 1 < len(page) and page[at] == _EQUAL and page[at + 1] == _QUOTE:
            begin = end = at + 2
            while end < len(page) and page[end] != _QUOTE:
                end += 1
            at = end + 1
        elif at < len(page) and page[at] == _EQUAL:
            at += 1
        for number in range(len(names)):
            if name == names[number] and spans[2 * number] < 0:
                spans[2 * number], spans[2 * number + 1] = begin, end
    return at + 1


@njit(cache=True)
def _blank(page: np.ndarray, at: int) -> bool:
    """Whether the character that begins here is white space."""
    byte = page[at]
    if byte <= _SPACE:
        return byte == _SPACE or 9 <= byte <= 13 or 28 <= byte <= 31
    second = page[at + 1] if at + 1 < len(page) else 0
    third = page[at + 2] if at + 2 < len(page) else 0
    if byte == _AND:
        return second == 110  # &nbsp;
    if byte == 0xC2:
        return second in (0x85, 0xA0)
    if byte == 0xE2 and second == 0x80:
        return 0x80 <= third <= 0x8A or third in (0xA8, 0xA9, 0xAF)
    return (byte, second, third) in ((0xE1, 0x9A, 0x80), (0xE2, 0x81, 0x9F), (0xE3, 0x80, 0x80))


@njit(cache=True)
def _after_comment(page: np.ndarray, at: int) -> int:
    """The place after a comment or a declaration that begins here."""
    comment = at + 3 < len(page) and page[at + 2] == 45 and page[at + 3] == 45
    at += 4 if comment else 2
    while at < len(page) and not (
        page[at] == _GREATER and (not comment or (page[at - 1] == 45 and page[at - 2] == 45))
    ):
        at += 1
    return at + 1


@njit(cache=True)
def _closes(page: np.ndarray, at: int, name: np.uint64) -> bool:
    """Whether the end tag of this name begins here."""
    return page[at + 1] == _SLASH and hash_name(page, at + 2, _name_end(page, at + 2)) == name


@njit(cache=True)
def scan(page: np.ndarray, names_K: np.ndarray, kinds_K: np.ndarray, attributes: np.ndarray) -> np.ndarray:
    """The elements of a page, uint8[bytes], in order; the page must be well-formed, as a serialized tree is.

    names_K, kinds_K: hashes of tags, ascending, and what each is.
    attributes:       hashes of "class" and "id".

    Returns int32[N, FIELDS].
    """
    room = 1
    for byte in page:
        room += byte == _LESS
    table = np.zeros((room, FIELDS), np.int32)
    opened, tags = np.zeros(_MAX_OPEN, np.int32), np.zeros(_MAX_OPEN, np.uint64)
    depth, count, last, at = 0, 0, -1, 0
    text = False  # whether a text that is not blank stands right before this place
    while at < len(page):
        inner = opened[depth - 1] if depth else -1
        raw = depth > 0 and table[inner, KIND] & RAW != 0
        if page[at] != _LESS or at + 1 >= len(page) or (raw and not _closes(page, at, tags[depth - 1])):
            text = text or not _blank(page, at)
            if depth and not 0x80 <= page[at] < 0xC0:
                table[inner, CHARACTERS] += page[at] not in (_SPACE, _TAB, _FEED)
            at = at + 1 if raw else _after_character(page, at)
            continue
        if last >= 0 and text:
            table[last, BESIDE] |= AFTER
        before, text, last = text, False, -1
        if page[at + 1] in (_BANG, _MARK):
            at = _after_comment(page, at)
        elif page[at + 1] == _SLASH:
            end = _name_end(page, at + 2)
            level = _level(tags, depth, hash_name(page, at + 2, end))
            while level >= 0 and depth > level:
                depth -= 1
                last = opened[depth]
                _close(table, last, count)
            at = end + 1
        else:
            end = _name_end(page, at + 1)
            name = hash_name(page, at + 1, end)
            table[count, KIND], table[count, PARENT] = _kind(names_K, kinds_K, name), inner
            table[count, BESIDE] = BEFORE if before else 0
            at = _attributes(page, end, table[count, NAMES:], attributes)
            if table[count, KIND] & TEMPLATE:  # what it holds is no part of the tree
                at = _skip_template(page, at, name)
            if table[count, KIND] & (TEMPLATE | VOID):
                last = count
                _close(table, count, count + 1)
            elif depth < _MAX_OPEN:
                opened[depth], tags[depth] = count, name
                depth += 1
            count += 1
    while depth:
        depth -= 1
        _close(table, opened[depth], count)
    return table[:count]


@njit(cache=True)
def _after_character(page: np.ndarray, at: int) -> int:
    if page[at] == _AND:
        while at < len(page) and page[at] != _SEMICOLON:
            at += 1
    return at + 1


@njit(cache=True)
def _level(tags: np.ndarray, depth: int, name: np.uint64) -> int:
    """The depth of the innermost open element of this name; -1 if there is none."""
    level = depth - 1
    while level >= 0 and tags[level] != name:
        level -= 1
    return level


@njit(cache=True)
def _close(table: np.ndarray, element: int, count: int) -> None:
    """End an element, and add what it holds to its parent."""
    table[element, STOP] = count
    parent, kind = table[element, PARENT], table[element, KIND]
    if parent >= 0:
        table[parent, CHARACTERS] += table[element, CHARACTERS]
        table[parent, LINKED] += table[element, LINKED] + (table[element, CHARACTERS] if kind & LINK else 0)
        table[parent, PARAGRAPHS] += 1 if kind & PARAGRAPH else 0
        table[parent, TITLES] += table[element, TITLES] + (1 if kind & TITLE else 0)


@njit(cache=True)
def _skip_template(page: np.ndarray, at: int, name: np.uint64) -> int:
    """The place after the end of the template that was opened before `at`."""
    depth = 1
    while at < len(page):
        if page[at] == _LESS and at + 1 < len(page):
            closing = page[at + 1] == _SLASH
            begin = at + 2 if closing else at + 1
            end = _name_end(page, begin)
            if hash_name(page, begin, end) == name:
                depth += -1 if closing else 1
                if not depth:
                    return end + 1
        at += 1
    return at


@njit(cache=True)
def named_in_sentences(table: np.ndarray) -> np.ndarray:
    """The inline elements with a class or an id that are part of a sentence, int64[M]: text stands right beside them in
    a paragraph or the like, or on both sides elsewhere, but not in a figure. Links count in paragraphs only."""
    found = np.zeros(len(table), np.bool_)
    for element in range(len(table)):
        if not table[element, KIND] & INLINE or (table[element, NAMES] < 0 and table[element, NAMES + 2] < 0):
            continue
        around, flags = element, 0
        while around >= 0 and table[around, KIND] & INLINE:
            flags |= table[around, BESIDE]
            around = table[around, PARENT]
        if around < 0 or table[around, KIND] & FIGURE:
            continue
        in_sentence = flags != 0 if table[around, KIND] & SENTENCE else flags == BEFORE | AFTER
        if in_sentence and table[element, KIND] & LINK:
            while around >= 0 and not table[around, KIND] & PARAGRAPH:
                around = table[around, PARENT]
            in_sentence = around >= 0
        found[element] = in_sentence
    return np.flatnonzero(found)
