"""HTML markup without injection: every string that is not `Html` is escaped."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

Tone = Literal["good", "bad", "warn", "plain"]

_VOID = {"br", "hr", "img", "input", "meta", "wbr"}
_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9-]*")
# Not allowed in HTML or XML, even as an entity: control characters, halves of surrogate pairs, non-characters.
_UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_PROSE = 40  # characters from which a cell is prose
_SAFE_TARGET = re.compile(r"https?://|mailto:|[^:/?#\\]*(?:[/?#]|\Z)")


class Html(str):
    """Markup that is safe to insert into a page."""

    __slots__ = ()


def escape(text: str) -> Html:
    """Text as markup; `Html` is returned unchanged. Forbidden characters become U+FFFD."""
    return text if isinstance(text, Html) else Html(html.escape(_UNWRITABLE.sub("\ufffd", text)))


def join(parts: Iterable[Html | str | None], separator: Html | str = "") -> Html:
    """Parts concatenated, escaped where they are plain text; None is left out."""
    return Html(escape(separator).join(escape(part) for part in parts if part is not None))


def tag(name: str, *children: Html | str | None, attributes: Mapping[str, str] = {}) -> Html:
    """An element; children and attribute values are escaped, a None child is left out."""
    assert _NAME.fullmatch(name) and all(_NAME.fullmatch(key) for key in attributes), f"bad markup: {name} {attributes}"
    opening = "".join(
        f' {key}="{html.escape(_UNWRITABLE.sub(chr(0xFFFD), value))}"' for key, value in attributes.items()
    )
    if name in _VOID:
        assert not children, f"<{name}> has no content"
        return Html(f"<{name}{opening}>")
    return Html(f"<{name}{opening}>{join(children)}</{name}>")


def paragraph(*children: Html | str, muted: bool = False) -> Html:
    """A paragraph; a muted one is small and grey."""
    return tag("p", *children, attributes={"class": "note"} if muted else {})


def heading(text: Html | str) -> Html:
    """A heading inside a section; it is not in the table of contents."""
    return tag("h3", text)


def bullets(items: Iterable[Html | str]) -> Html:
    """A list of points."""
    return tag("ul", *(tag("li", item) for item in items))


def code(text: str) -> Html:
    """Inline code, or a block if it has more than one line; a wide block scrolls."""
    if "\n" not in text:
        return tag("code", text)
    return tag("pre", tag("code", text.rstrip("\n")), attributes={"tabindex": "0"})


def link(text: Html | str, target: str) -> Html:
    """A link to another page (http, https, mailto), to a file beside this one or to an anchor ("#name").

    Raises:
        ValueError: the target is of another kind, such as "javascript:".
    """
    if not _SAFE_TARGET.match(target) or _UNWRITABLE.search(target):
        raise ValueError(f"a page cannot link to {target!r}; use an http(s) address, a relative path or #anchor")
    return tag("a", text, attributes={"href": target})


def badge(text: str, tone: Tone = "plain") -> Html:
    """A short label; each tone has its own sign, so that colour is not the only cue."""
    sign = {"good": "✓", "bad": "✕", "warn": "!", "plain": ""}[tone]
    mark = tag("span", sign, attributes={"aria-hidden": "true"}) if sign else None
    return tag("span", mark, text, attributes={"class": f"badge {tone}"})


def details(summary: Html | str, *body: Html | str) -> Html:
    """A block that the reader can open."""
    return tag("details", tag("summary", summary), tag("div", *body))


def columns(*children: Html) -> Html:
    """Blocks side by side, or below each other on a narrow screen."""
    return tag("div", *(tag("div", child) for child in children), attributes={"class": "columns"})


def facts(pairs: Mapping[str, str | Html]) -> Html:
    """A grid of named figures."""
    cards = (tag("div", tag("dt", name), tag("dd", value)) for name, value in pairs.items())
    return tag("dl", *cards, attributes={"class": "facts"})


def table(header: Sequence[str | Html], rows: Sequence[Sequence[str | Html]], numeric: Sequence[int] = ()) -> Html:
    """A table, which scrolls if it is wider than the page; `numeric` columns, counted from 0, are right-aligned.

    Raises:
        ValueError: a row has another number of cells than the header.
    """
    for number, row in enumerate(rows, 1):
        if len(row) != len(header):
            raise ValueError(
                f"table row {number} has {len(row)} cells under a header of {len(header)}; make them equal"
            )
    head = tag("tr", *(_cell("th", cell, column in numeric, scope="col") for column, cell in enumerate(header)))
    body = (tag("tr", *(_cell("td", cell, column in numeric) for column, cell in enumerate(row))) for row in rows)
    element = tag("table", tag("thead", head), tag("tbody", *body))
    return tag("div", element, attributes={"class": "scroll", "tabindex": "0"})


def _cell(name: str, content: str | Html, numeric: bool, scope: str = "") -> Html:
    # On a narrow screen, prose would be squeezed into a column one word wide.
    is_prose = len(re.sub("<[^>]*>", "", content)) > _PROSE
    kind = "number" if numeric else "wordy" if is_prose else ""
    return tag(name, content, attributes={**({"scope": scope} if scope else {}), **({"class": kind} if kind else {})})
