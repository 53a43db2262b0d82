"""Text extraction from HTML: fast with resiliparse, or careful with trafilatura."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal

from tutelage.corpus.furniture import (
    keep_lists,
    keep_named_text,
    remove_furniture,
    remove_menus,
    remove_scripts,
)
from tutelage.corpus.main_part import name_main_part
from tutelage.corpus.markup import mark, unwrap_layout
from tutelage.corpus.page_index import PageIndex
from tutelage.extras import load

Mode = Literal["fast", "careful"]
HTML_TYPES = ("text/html", "application/xhtml+xml")

_FEW_CHARACTERS = 250
_FIRST_TAG = re.compile(
    r"[\s\ufeff]*(?:<\?xml[^<>]{0,200}\?>\s*)?(?:<!--.{0,2000}?-->\s*)*<(?:!doctype\s+html|html)\b", re.I | re.S
)
_NEXT_TO_NOTHING, _FAR_MORE = 100, 4
_SENTENCE_END = re.compile(r"[.!?…\"”»。！？।۔|$][^\w\s]*$")
_SHORT_WORDS, _SHORT_CHARACTERS = 12, 120
_SPACES_BEFORE = re.compile(r"[ \t]+\n")
_MANY_LINES = re.compile(r"\n{3,}")


def begins_as_html(text: str) -> bool:
    """Whether a text is an HTML page by its first tag, whatever is said of its type."""
    return bool(_FIRST_TAG.match(text))


def page_text(page: str, mode: Mode, headline: bool = False) -> str:
    """The text of a page, in this process and without limits; "" if it has none. `headline`: with the only h1 of the
    page before a text that does not begin with it."""
    text = html_text(page) if mode == "fast" else careful_text(page)
    title = _headline(page) if headline and text else ""
    return f"{title}\n\n{text}" if title and title not in " ".join(text[: 2 * len(title)].split()) else text


def _headline(page: str) -> str:
    """The only h1 of a page; "" if it has none, or several."""
    body = load("resiliparse.parse.html").HTMLTree.parse(page).body
    found = [] if body is None else body.get_elements_by_tag_name("h1").values()
    titles = [" ".join((element.text or "").split()) for element in found]
    titles = [title for title in titles if title]
    return titles[0] if len(titles) == 1 else ""


def html_text(page: str, main: bool = True) -> str:
    """The text of a page with resiliparse: main content or everything; one paragraph per line."""
    trees = load("resiliparse.parse.html")
    tree = trees.HTMLTree.parse(page)
    if tree.body is None:
        return ""
    mark(tree)
    if not main:
        return _tidy(_plain(tree, main))
    remove_scripts(tree)
    index = PageIndex(tree.body)
    keep_named_text(tree, index)
    remove_furniture(tree, int(index.prose[0]))
    keep_lists(tree)
    text = _plain(tree, main)
    if len(text) < _FEW_CHARACTERS:
        text = max([text, *_other_readings(page)], key=len)
    return _tidy(without_edges(text))


def _other_readings(page: str) -> Iterator[str]:
    """The main text of a page with what is called comments, captions ..., which are the content of a forum or a
    gallery; and, where that is next to nothing of a page, all of it but menus, forms, headers and footers."""
    parse = load("resiliparse.parse.html").HTMLTree.parse
    tree = parse(page)
    mark(tree)
    remove_scripts(tree)
    keep_named_text(tree, PageIndex(tree.body))
    text = _plain(tree, True)
    yield text
    if len(text) >= _NEXT_TO_NOTHING:
        return
    tree = parse(page)
    mark(tree)
    remove_menus(tree)
    rest = _plain(tree, False)
    if len(rest) > _FAR_MORE * len(text):
        yield rest


def _plain(tree: Any, main: bool) -> str:
    extract_plain_text = load("resiliparse.extract.html2text").extract_plain_text
    return extract_plain_text(tree, preserve_formatting=True, main_content=main, alt_texts=False, list_bullets=not main)


def careful_text(page: str) -> str:
    """The main text of a page with trafilatura."""
    tree = load("resiliparse.parse.html").HTMLTree.parse(page)
    if tree.body is not None:
        marked = mark(tree)
        unwrapped = unwrap_layout(tree)
        if marked or unwrapped:
            page = str(tree)
    trafilatura = load("trafilatura")
    text = ""
    if (document := trafilatura.load_html(page)) is not None:
        name_main_part(document)
        text = trafilatura.extract(document, include_comments=False, include_tables=True, fast=True) or ""
    if len(text) < _FEW_CHARACTERS and len(other := html_text(page)) > _FAR_MORE * max(len(text), 1):
        return other
    return _tidy(text)


def without_edges(text: str) -> str:
    """Strip short lines before the first and after the last sentence: titles of other pages, tags, dates, counters. A
    text of which less than half would be left is returned unchanged."""
    lines = text.split("\n")
    strong = [number for number, line in enumerate(lines) if not _is_label(line)]
    if not strong:
        return text
    kept = "\n".join(lines[strong[0] : strong[-1] + 1])
    return kept if 2 * len(kept) >= len(text) else text


def _is_label(line: str) -> bool:
    line = line.strip()
    if not line or _SENTENCE_END.search(line):
        return not line
    return len(line) < _SHORT_CHARACTERS and len(line.split()) < _SHORT_WORDS


def _tidy(text: str) -> str:
    return _MANY_LINES.sub("\n\n", _SPACES_BEFORE.sub("\n", text.replace("\xa0", " ").replace("\xad", ""))).strip()
