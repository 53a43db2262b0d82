"""What is no content on a page: captions, comments, notices. Elements are known by whole names, and none that holds
most of the text of a page is taken for one, whatever its name.

resiliparse has rules of its own that match parts of names. So the names of elements that must stay are removed before
the tree is handed on.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

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
_INLINE = frozenset(
    "a abbr b bdi bdo cite code data del dfn em font i ins kbd mark q s samp small span strong sub sup u var".split()
)
_NAMED_INLINE = ", ".join(f"{tag}[class], {tag}[id]" for tag in sorted(_INLINE - {"a"})) + ", p a[class], p a[id]"
_SENTENCES = frozenset("p li dd dt td th blockquote h1 h2 h3 h4 h5 h6".split())
_LARGE, _SEVERAL = 0.3, 3  # of the prose in an element, and paragraphs right inside it, that make it an article
_NOT_PROSE = re.compile(
    r"nav|menu|social|share|tags?\b|breadcrumb|meta|related|links?\b|pagination|comment|widget", re.IGNORECASE
)
_BESIDE_LISTS = frozenset(["p", "h2", "h3", "h4", "h5"])
_CONTROLS = "form, input, button, img, svg, time"
_ARTICLES = ("article", "main")
_HOLDERS = frozenset(["nav", "aside", "footer", "header", "form", "menu", "dialog"])
_MOST, _MUCH, _NEARLY_ALL = 0.5, 0.15, 2 / 3  # of the prose of a page
_MAX_DEPTH = 60


def remove_scripts(tree: Any) -> None:
    """Remove scripts, but those that hold formulas, and styles from the tree of a page."""
    for element in tree.body.query_selector_all("script:not([type^='math/tex']), style").values():
        element.decompose()


def keep_named_text(tree: Any, total: int) -> None:
    """Change the tree of a page in place so that no rule on names removes text: the class and id of elements inside of
    sentences go, and those of elements that hold much of the prose of the page, unless their whole name is that of
    furniture and they hold less than half of it. `total` is the prose of the page."""
    for element in tree.body.query_selector_all(_NAMED_INLINE).values():
        if _is_suspect(_names(element)) and _in_sentence(element):
            _strip(element)
    if total:
        held = visible(tree.body.text or "")
        _keep_holders(tree, tree.body, total, held, held - total, 0)


def remove_furniture(tree: Any, total: int) -> None:
    """Remove footers, captions, comments, galleries, notices from the tree of a page, by their whole names. `total` is
    the prose of the page."""
    for element in tree.body.query_selector_all(_CANDIDATES).values():
        if (
            element.tag in ("body", "html")
            or element.parent is None
            or (element.tag in _INLINE and _in_sentence(element))
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


def _keep_holders(tree: Any, node: Any, total: int, left: int, linked: int, depth: int) -> None:
    """Keep the children of a node that must stay, and theirs. `left` is the number of characters of the node, and
    `linked` at least the number of those in links."""
    following = node.first_element_child if depth < _MAX_DEPTH else None
    while following is not None and left >= _MUCH * total:
        child, following, inner = following, following.next_element_sibling, linked
        held = visible(child.text or "")
        left -= held
        if held < _MUCH * total:
            continue
        suspect, holder = _is_suspect(_names(child)), child.tag in _HOLDERS
        if suspect or holder:
            stays, inner = _must_stay(child, held, linked, total)
            if stays and suspect:
                _strip(child)
            if stays and holder:
                child = _renamed(tree, child)
        _keep_holders(tree, child, total, held, inner, depth + 1)


def _must_stay(element: Any, held: int, linked: int, total: int) -> tuple[bool, int]:
    """Whether an element with `held` characters is content, whatever its name; and at most how many characters are in
    its links, of which there are at most `linked`. They are counted only where it matters, since that takes time."""
    article = _is_article(element)
    several = article or (held >= _LARGE * total and _paragraphs(element) >= _SEVERAL)
    if not several and held < _NEARLY_ALL * total:
        return False, linked
    bounds = [share * total for share in (_MUCH, _LARGE, _MOST, _NEARLY_ALL)]
    if any(held - linked < bound <= held for bound in bounds):
        linked = held - prose(element)
    share = (held - linked) / total
    if share < _MUCH:
        return False, linked
    if article or (share >= _LARGE and several):
        return share >= _MOST or (element.tag not in _HOLDERS and not _is_furniture(element)), linked
    return share >= _NEARLY_ALL, linked


def _paragraphs(element: Any) -> int:
    return sum(child.tag == "p" for child in element.children.values())


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
    names = [_CAMEL.sub("-", name) for name in _names(element).split()]
    if any(map(_WHOLE.fullmatch, names)):
        return True
    return any(map(_LAST.fullmatch, names)) and not _is_article(element)


def _is_article(element: Any) -> bool:
    return element.tag in _ARTICLES or element.query_selector("h1, article, main") is not None


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
    while element is not None and element.tag in _INLINE:
        before, after = before or _is_text(element.prev), after or _is_text(element.next)
        element = element.parent
    if element is None or element.tag in ("figure", "figcaption"):
        return False
    return before or after if element.tag in _SENTENCES else before and after


def _is_text(node: Any) -> bool:
    return node is not None and node.tag == "#text" and bool((node.value or "").strip())


def prose(element: Any) -> int:
    """The number of visible characters of an element outside of links."""
    links = element.get_elements_by_tag_name("a").values()
    return visible(element.text or "") - visible("".join([link.text or "" for link in links]))


def visible(text: str) -> int:
    """The number of characters that are no white space."""
    return len(text) - text.count(" ") - text.count("\n") - text.count("\t")
