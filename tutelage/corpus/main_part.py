"""The main part of a page where trafilatura has no name for it, or takes one part of several for the whole.

Without a name that it knows, trafilatura collects paragraphs and tables from all over a page, but neither lists nor
headings. Of several parts with one name, such as the posts of a forum, it takes the first.
"""

from __future__ import annotations

from typing import Any

from tutelage.corpus.furniture import visible
from tutelage.extras import load

_NEARLY_ALL = 0.9  # of the prose of a page: the part that holds it has no menu or side column of sentences
_PARTS = 0.3  # of the prose of a page that several parts with one name hold, if they are its content
_SMALL = 0.1  # of the prose of the largest part: a smaller one is none
_WITHOUT_PROSE = frozenset(["a", "script", "style", "noscript"])
_CONTAINERS = frozenset(["article", "div", "main", "section"])  # among these trafilatura looks for names


def name_main_part(page: Any) -> None:
    """Give the main part of a page, an lxml tree, a name that trafilatura knows, unless it finds that part itself."""
    body = page.find(".//body")
    if body is None:
        return
    held = _prose(body)
    found = next((element for find in load("trafilatura.xpaths").BODY_XPATH for element in find(page)), None)
    if found is None:
        main = _narrowed(body, held)
    elif len(parts := _parts(body, found, held)) > 1 and 2 * held[parts[0]] < sum(map(held.__getitem__, parts)):
        main = _common(parts)
    else:
        return
    if main is body:
        main = body.makeelement("div")
        main.extend(list(body))
        body.append(main)
    elif main.tag not in _CONTAINERS:
        main.tag = "div"
    main.set("itemprop", "articleBody")


def _prose(body: Any) -> dict[Any, int]:
    """Of each element, the number of its visible characters outside of links."""
    held: dict[Any, int] = {}
    for element in reversed(list(body.iter())):  # children before parents
        inside = 0
        if isinstance(element.tag, str) and element.tag not in _WITHOUT_PROSE:
            inside = visible(element.text or "") + sum(held[child] + visible(child.tail or "") for child in element)
        held[element] = inside
    return held


def _narrowed(body: Any, held: dict[Any, int]) -> Any:
    """The innermost element that holds nearly all prose of a page and is no paragraph."""
    main, least = body, _NEARLY_ALL * held[body]
    while True:
        inner = next((child for child in main if held[child] >= least and child.tag != "p"), None)
        if inner is None:
            return main
        main = inner


def _parts(body: Any, found: Any, held: dict[Any, int]) -> list[Any]:
    """The elements with the name of the one that trafilatura found, if they hold much of the prose of the page."""
    name = found.get("class")
    if not name:
        return []
    parts = [element for element in body.iter(found.tag) if element.get("class") == name]
    parts = [element for element in parts if not any(outer.get("class") == name for outer in element.iterancestors())]
    largest = max((held[element] for element in parts), default=0)
    parts = [element for element in parts if held[element] > _SMALL * largest]
    return parts if sum(map(held.__getitem__, parts)) >= _PARTS * held[body] else []


def _common(elements: list[Any]) -> Any:
    """The innermost element that holds all of several elements."""
    shared = list(elements[0].iterancestors())
    for element in elements[1:]:
        outer = set(element.iterancestors())
        shared = [candidate for candidate in shared if candidate in outer]
    return shared[0]
