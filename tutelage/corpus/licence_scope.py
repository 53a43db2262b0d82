"""What of a page a licence mark is about: the page, or only a picture, a caption or a comment on it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from tutelage.corpus.furniture import furniture_match

_TAG = re.compile(r"<(/?)(figure|figcaption|div|section|aside|ul|ol|span|details)\b([^<>]{0,2000})>", re.IGNORECASE)
_NAMES = re.compile(r"\b(?:class|id)\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s>]+))", re.IGNORECASE)
_DATA = re.compile(r"<script\b[^<>]{0,300}ld\+json[^<>]{0,300}>", re.IGNORECASE)
_PART_TYPES = (
    "ImageObject",
    "VideoObject",
    "AudioObject",
    "MediaObject",
    "Photograph",
    "Comment",
    "SoftwareSourceCode",
)


def about_the_page(page: str) -> str:
    """The HTML of a page without its figures, captions, galleries and comments, and of its JSON-LD only the licences of
    the page itself. A mark that is gone here is that of a part."""
    kept: list[str] = []
    at = 0
    for script in _DATA.finditer(page):
        stop = page.find("</script", script.end())
        if stop < 0:
            break
        if script.start() >= at:
            kept += page[at : script.end()], _page_licences(page[script.end() : stop])
            at = stop
    page = "".join([*kept, page[at:]])
    kept, at = [], 0
    for start, stop in _parts(page):
        kept.append(page[at:start])
        at = stop
    return "".join([*kept, page[at:]])


def _parts(page: str) -> Iterator[tuple[int, int]]:
    """Where figures, captions, galleries and comments stand, in order, none within another. One that is never closed
    goes on to the end: what it holds may be anybody's."""
    start, name, depth = 0, "", 0
    for tag in _TAG.finditer(page):
        kind = tag[2].lower()
        if depth and kind == name:
            depth += -1 if tag[1] else 1
            if not depth:
                yield start, tag.end()
        elif not depth and not tag[1] and (kind in ("figure", "figcaption") or furniture_match(_names(tag[3]))):
            start, name, depth = tag.start(), kind, 1
    if depth:
        yield start, len(page)


def _names(attributes: str) -> str:
    return " ".join(found[1] or found[2] or found[3] or "" for found in _NAMES.finditer(attributes))


def _page_licences(data: str) -> str:
    """The licences in JSON-LD that are not those of a picture or a comment; data that cannot be read are unchanged."""
    try:
        return json.dumps([{"license": value} for value in _licences(json.loads(data))])
    except (ValueError, RecursionError):
        return data


def _licences(node: Any) -> Iterator[Any]:
    if isinstance(node, list):
        for item in node:
            yield from _licences(item)
    elif isinstance(node, dict) and not any(part in str(node.get("@type", "")) for part in _PART_TYPES):
        if "license" in node:
            yield node["license"]
        for value in node.values():
            yield from _licences(value)
