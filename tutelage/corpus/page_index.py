"""How much text each element of a page holds, told from the HTML of its tree in one pass. Asking the tree for it makes
an object per element, which takes most of the time of an extraction."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from functools import cache
from html import unescape
from typing import Any

import numpy as np

from tutelage.corpus.page_kernels import (
    CHARACTERS,
    FIGURE,
    HOLDER,
    INLINE,
    KIND,
    LINK,
    LINKED,
    NAMES,
    PARAGRAPH,
    PARAGRAPHS,
    RAW,
    SENTENCE,
    STOP,
    TEMPLATE,
    TITLE,
    TITLES,
    VOID,
    hash_name,
    named_in_sentences,
    scan,
)

INLINE_TAGS = frozenset(
    "a abbr b bdi bdo cite code data del dfn em font i ins kbd mark q s samp small span strong sub sup u var".split()
)
HOLDER_TAGS = frozenset(["nav", "aside", "footer", "header", "form", "menu", "dialog"])
SENTENCE_TAGS = frozenset("p li dd dt td th blockquote h1 h2 h3 h4 h5 h6".split())
_KINDS = (
    (INLINE, INLINE_TAGS),
    (HOLDER, HOLDER_TAGS),
    (PARAGRAPH, ["p"]),
    (TITLE, ["h1", "article", "main"]),
    (SENTENCE, SENTENCE_TAGS),
    (LINK, ["a"]),
    (FIGURE, ["figure", "figcaption"]),
    (VOID, "area base basefont bgsound br col embed frame hr img input link meta param source track wbr".split()),
    (RAW, "iframe noembed noframes plaintext script style xmp".split()),
    (TEMPLATE, ["template"]),
)


class PageIndex:
    """The elements of a body, in document order; the body is number 0.

    kinds:      int32[N], what each is: bits of `page_kernels`.
    stops:      int32[N], 1 + the last descendant of each.
    characters: int32[N], visible characters of its text.
    prose:      int32[N], those outside of the links in it.
    paragraphs: int32[N], paragraphs right inside it.
    """

    def __init__(self, body: Any) -> None:
        self._page = body.html.encode("utf-8", "replace")
        page = np.frombuffer(self._page, np.uint8)
        names, kinds = _tags()
        self._table = scan(page, names, kinds, _attributes())
        self.kinds, self.stops = self._table[:, KIND], self._table[:, STOP]
        self.characters, self.paragraphs = self._table[:, CHARACTERS], self._table[:, PARAGRAPHS]
        self.prose = self.characters - self._table[:, LINKED]

    def names(self, element: int) -> str:
        """The class and the id of an element, with a space between."""
        bounds = self._table[element, NAMES:].tolist()
        found = [self._page[bounds[at] : bounds[at + 1]].decode() if bounds[at] >= 0 else "" for at in (0, 2)]
        return unescape(" ".join(found)) if "&" in found[0] + found[1] else " ".join(found)

    def is_article(self, element: int) -> bool:
        """Whether an element is an article, or holds one or a title."""
        kind = self.kinds[element]
        return bool((kind & TITLE and not kind & SENTENCE) or self._table[element, TITLES])

    def children(self, element: int) -> Iterable[int]:
        """The elements right inside an element."""
        child, stop = element + 1, int(self.stops[element])
        while child < stop:
            yield child
            child = int(self.stops[child])

    def named_in_sentences(self) -> list[int]:
        """The inline elements with a class or an id that are part of a sentence."""
        return named_in_sentences(self._table).tolist()

    def nodes(self, body: Any, elements: Iterable[int]) -> dict[int, Any]:
        """The nodes of elements. The tree must be as it was when the index was made."""
        wanted = deque(sorted(set(elements)))
        found: dict[int, Any] = {}
        open_: list[tuple[Any, int, int]] = [(body.first_element_child, 1, int(self.stops[0]))]
        while wanted and open_:
            node, number, stop = open_.pop()
            while node is not None and number < stop and wanted and wanted[0] >= self.stops[number]:
                node, number = node.next_element_sibling, int(self.stops[number])
            if node is None or not wanted or number >= stop:
                continue
            open_.append((node, number, stop))  # what follows it inside of its parent comes later
            if wanted[0] == number:
                found[wanted.popleft()] = node
            if wanted and wanted[0] < self.stops[number]:
                open_.append((node.first_element_child, number + 1, int(self.stops[number])))
        return found


@cache
def _tags() -> tuple[np.ndarray, np.ndarray]:
    """Hashes of the tags of `_KINDS`, ascending: uint64[K]; and their kinds: int32[K]."""
    kinds: dict[int, int] = {}
    for bit, tags in _KINDS:
        for tag in tags:
            name = int(_hash(tag))
            kinds[name] = kinds.get(name, 0) | bit
    names = sorted(kinds)
    return np.array(names, np.uint64), np.array([kinds[name] for name in names], np.int32)


@cache
def _attributes() -> np.ndarray:
    return np.array([_hash("class"), _hash("id")], np.uint64)


def _hash(name: str) -> np.uint64:
    return np.uint64(hash_name(np.frombuffer(name.encode(), np.uint8), 0, len(name)))
