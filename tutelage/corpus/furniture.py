"""What is no content on a page: captions, comments, notices. Elements are known by whole names, and none that holds
most of the text of a page is taken for one, whatever its name.

resiliparse has rules of its own that match parts of names. So the names of elements that must stay are removed before
the tree is handed on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Literal

from tutelage.corpus.page_index import INLINE_TAGS, SENTENCE_TAGS, PageIndex
from tutelage.corpus.page_kernels import HOLDER

_KINDS = "captions?|comments?|gallery|galleries|byline|cookies?|related|tooltips?"
# Words that may stand before and after a kind in the name of such an element: "wp-caption-text", "related-posts".
_BEFORE = (
    "wp|js|fb|facebook|disqus|post|posts|article|entry|story|image|img|photo|picture|figure|media|video|page|site|block"
    "|box|module|widget|section|content|user|reader|author|slide|main|the|eu|gdpr|c|m|l|p|o|b|meta|single|news|popup|field"
)
_AFTER = (
    "list|area|areas|section|sections|wrap|wrapper|wrapped|container|box|block|blocks|body|text|texts|content|form|thread"
    "|respond|reply|item|items|post|posts|article|articles|story|stories|links?|news|title|header|head|footer|count"
    "|counter|meta|metadata|author|name|date|bar|banner|notice|consent|law|policy|popup|message|info|overlay|widget"
    "|module|row|column|col|inner|outer|group|image|images|img|thumb|thumbs|photo|photos|credit|icon|button|btn|link"
    r"|toggle|holder|panel|pane|sidebar|products|topics|video|videos|media|main|page|entry|full|social|controls|more|\d+"
)
_WHOLE = re.compile(rf"(?:(?:{_BEFORE})[-_]*)*(?:{_KINDS})(?:[-_]*(?:{_AFTER}))*", re.IGNORECASE)
# Before one of these any other word may stand ("abn-image-caption"), but not one that tells a state of the page.
_LAST = re.compile(
    r"(?!(?:.*[-_])?(?:has|have|no|with|without|show|format|category|cat|tag|type|topic|in|is|style|template|align|theme"
    r"|layout)[-_]?\w+$)(?:\w+[-_]+)*(?:captions?|comments?|gallery|byline)(?:[-_]\d+)?",
    re.IGNORECASE,
)
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_CANDIDATE_WORDS = ("caption", "comment", "gallery", "byline", "cookie", "related", "tooltip")
_CANDIDATES = ", ".join(["footer", "[id*=comment]", *(f"[class*={kind}]" for kind in _CANDIDATE_WORDS)])
# Any part of a name that a rule of resiliparse may match.
_SUSPECT = re.compile(
    r"ad(?:s|vert\w*)?\b|sponsor|promot|paid|banner|donate|nav|menu|drop|bread|links?|logo|modal|popup|lightbox|print|footer"
    r"|copyright|cookie|consent|legal|container|header|search|log|sign|account|user|social|share|sharing|syndication|news"
    r"|follow|mail|like|feedback|engagement|facebook|twitter|subscribe|wa|jp|gallery|carousel|head|foot|right|side|sticky"
    r"|third|comment|reply|teaser|meta|sub|author|publish|time|date|post|info|label|tag|key|category|by|skip|scroll|next"
    r"|prev|permalink|pagination|view|spinner|trend|recommend|feature|popular|pick|related|read|caption|tooltip",
    re.IGNORECASE,
)
_LARGE, _SEVERAL = 0.3, 3  # of the prose in an element, and paragraphs right inside it, that make it an article
_NOT_PROSE = re.compile(
    r"nav|menu|social|share|tags?\b|breadcrumb|meta|related|links?\b|pagination|comment|widget", re.IGNORECASE
)
_BESIDE_LISTS = frozenset(["p", "h2", "h3", "h4", "h5"])
_CONTROLS = "form, input, button, img, svg, time"
_MOST, _MUCH, _NEARLY_ALL = 0.5, 0.15, 2 / 3  # of the prose of a page
_MAX_DEPTH = 60


def remove_scripts(tree: Any) -> None:
    """Remove scripts, but those that hold formulas, and styles from the tree of a page."""
    for element in tree.body.query_selector_all("script:not([type^='math/tex']), style").values():
        element.decompose()


def keep_named_text(tree: Any, index: PageIndex) -> None:
    """Change the tree of a page in place so that no rule on names removes text: the class and id of elements inside of
    sentences go, and those of elements that hold much of the prose of the page, unless their whole name is that of
    furniture and they hold less than half of it. `index` is that of the tree."""
    names = {element: index.names(element) for element in index.named_in_sentences()}
    stripped = {element for element, name in names.items() if _is_suspect(name)}
    renamed: set[int] = set()
    for element in _content_holders(index):
        if _is_suspect(index.names(element)):
            stripped.add(element)
        if index.kinds[element] & HOLDER:
            renamed.add(element)
    nodes = index.nodes(tree.body, stripped | renamed)
    for element in sorted(nodes):
        if element in stripped:
            _strip(nodes[element])
        if element in renamed:
            _renamed(tree, nodes[element])


def remove_furniture(tree: Any, total: int) -> None:
    """Remove footers, captions, comments, galleries, notices from the tree of a page, by their whole names. `total` is
    the prose of the page."""
    for element in tree.body.query_selector_all(_CANDIDATES).values():
        if (
            element.tag in ("body", "html")
            or element.parent is None
            or (element.tag in INLINE_TAGS and _in_sentence(element))
        ):
            continue
        if element.tag != "footer" and not _is_furniture(element):
            continue
        if visible(element.text or "") < _MOST * total or prose(element) < _MOST * total:
            element.decompose()


def keep_lists(tree: Any) -> bool:
    """Change lists of text into numbered ones: resiliparse takes every other list for a menu. Returns whether there
    was one."""
    changed = False
    for element in tree.body.get_elements_by_tag_name("ul").values():
        if element.parent is None or _is_not_prose(_names(element)) or not _is_in_prose(element):
            continue
        if 2 * prose(element) <= visible(element.text or "") or element.query_selector(_CONTROLS) is not None:
            continue
        _renamed(tree, element, "ol")
        changed = True
    return changed


def _is_in_prose(element: Any) -> bool:
    """Whether a paragraph, a heading or another list of text stands beside an element, or it is inside of a list."""
    if element.parent.tag in ("li", "dd", "blockquote"):
        return True
    before = element.previous_element_sibling
    if before is not None and before.tag in _BESIDE_LISTS:
        return True
    return any(child.tag in _BESIDE_LISTS for child in element.parent.children.values())


def remove_menus(tree: Any) -> None:
    """Remove menus, headers, footers and forms, and lists that are mostly links, from the tree of a page, unless they
    hold most of its prose."""
    remove_scripts(tree)
    total = prose(tree.body)
    for element in tree.body.query_selector_all("nav, header, footer, form, button, select, ul, ol").values():
        if element.parent is None:
            continue
        held = prose(element)
        is_list = element.tag in ("ul", "ol")
        if held < _MOST * total and (not is_list or 2 * held < visible(element.text or "")):
            element.decompose()


def _content_holders(index: PageIndex) -> Iterator[int]:
    """The elements that hold much of the prose of a page and are content, though a rule on names or tags may take them
    for furniture."""
    total = int(index.prose[0])
    open_ = [(0, 0)] if total else []
    while open_:
        element, depth = open_.pop()
        for child in index.children(element):
            if index.characters[child] < _MUCH * total:
                continue
            if (index.kinds[child] & HOLDER or _is_suspect(index.names(child))) and _must_stay(index, child, total):
                yield child
            if depth + 1 < _MAX_DEPTH:
                open_.append((child, depth + 1))


def _must_stay(index: PageIndex, element: int, total: int) -> bool:
    """Whether an element is content, whatever its name."""
    share = int(index.prose[element]) / total
    if share < _MUCH:
        return False
    article = index.is_article(element)
    if article or (share >= _LARGE and index.paragraphs[element] >= _SEVERAL):
        match = furniture_match(index.names(element))
        furniture = match == "whole" or (match == "last" and not article)
        return share >= _MOST or not (furniture or index.kinds[element] & HOLDER)
    return share >= _NEARLY_ALL


def _renamed(tree: Any, element: Any, tag: str = "div") -> Any:
    """The element with another tag, without attributes."""
    box = tree.create_element(tag)
    for child in list(element.child_nodes.values()):
        box.append_child(child)
    element.parent.replace_child(box, element)
    return box


def _names(element: Any) -> str:
    return f"{element.class_name or ''} {element.id or ''}"


def _is_furniture(element: Any) -> bool:
    match = furniture_match(_names(element))
    if match != "last":
        return match == "whole"
    return element.tag not in ("article", "main") and element.query_selector("h1, article, main") is None


@lru_cache(4096)
def furniture_match(names: str) -> Literal["whole", "last", ""]:
    """How one of the names is that of furniture: by all of it, or by its last words, which may name an article too."""
    parts = [_CAMEL.sub("-", name) for name in names.split()]
    if any(map(_WHOLE.fullmatch, parts)):
        return "whole"
    return "last" if any(map(_LAST.fullmatch, parts)) else ""


@lru_cache(4096)
def _is_not_prose(names: str) -> bool:
    return bool(_NOT_PROSE.search(names))


@lru_cache(4096)
def _is_suspect(names: str) -> bool:
    return bool(_SUSPECT.search(names))


def _strip(element: Any) -> None:
    for name in ("class", "id"):
        if element.hasattr(name):
            element.delattr(name)


def _in_sentence(element: Any) -> bool:
    """Whether an inline element is part of a sentence: text stands right beside it in a paragraph or the like, or on
    both sides elsewhere, but not in a figure."""
    before = after = False
    while element is not None and element.tag in INLINE_TAGS:
        before, after = before or _is_text(element.prev), after or _is_text(element.next)
        element = element.parent
    if element is None or element.tag in ("figure", "figcaption"):
        return False
    return before or after if element.tag in SENTENCE_TAGS else before and after


def _is_text(node: Any) -> bool:
    return node is not None and node.tag == "#text" and bool((node.value or "").strip())


def prose(element: Any) -> int:
    """The number of visible characters of an element outside of links."""
    links = element.get_elements_by_tag_name("a").values()
    return visible(element.text or "") - visible("".join([link.text or "" for link in links]))


def visible(text: str) -> int:
    """The number of characters that are no white space."""
    return len(text) - text.count(" ") - text.count("\n") - text.count("\t")
