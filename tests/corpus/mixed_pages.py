"""Labelled pages of the kinds that are not news: documentation, recipes, questions, forums, shops, wikis, pages that are
laid out with tables. The labels come with the templates, so what should be read is known line by line."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

Label = Literal["paragraph", "item", "heading", "furniture"]
_WORDS = (
    "harbour keeper lantern morning village winter garden letter window station river mountain captain island bridge"
    " market school doctor teacher engine signal weather copper timber stone paper silver meadow valley forest orchard"
    " carries finds opens repairs follows measures paints gathers counts moves clears holds turns joins crosses builds"
    " slowly quietly often always nearly early again together outside under behind across before against without"
).split()


class Page(NamedTuple):
    """A page of a kind, and its lines by label."""

    kind: str
    html: str
    lines: list[tuple[Label, str]]


class _Writer:
    """Makes lines of random words, none twice, and remembers their labels."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self.lines: list[tuple[Label, str]] = []

    def _line(self, label: Label, fewest: int, most: int, end: str) -> str:
        words = self._draw.choices(_WORDS, k=self._draw.randint(fewest, most))
        text = f"{' '.join(words).capitalize()} {len(self.lines) + 100}{end}"
        self.lines.append((label, text))
        return text

    def paragraph(self) -> str:
        return f"<p>{self._line('paragraph', 25, 60, '.')}</p>"

    def heading(self, tag: str = "h2") -> str:
        return f"<{tag}>{self._line('heading', 3, 6, '')}</{tag}>"

    def item(self, fewest: int = 4, most: int = 18) -> str:
        return self._line("item", fewest, most, self._draw.choice(["", "."]))

    def items(self, tag: str = "ul", count: int = 0, attributes: str = "") -> str:
        rows = "".join(f"<li>{self.item()}</li>" for _ in range(count or self._draw.randint(3, 8)))
        return f"<{tag}{attributes}>{rows}</{tag}>"

    def menu(self, count: int = 8) -> str:
        links = (self._line("furniture", 1, 2, "") for _ in range(count))
        return "".join(f'<li><a href="/{n}">{text}</a></li>' for n, text in enumerate(links))

    def around(self, main: str) -> str:
        """The main part between a header with a menu, a side column and a footer."""
        header = f'<header class="site-header"><nav><ul class="menu">{self.menu()}</ul></nav></header>'
        aside = f'<aside class="sidebar"><h3>Related</h3><ul>{self.menu(5)}</ul></aside>'
        footer = f'<footer id="footer"><ul>{self.menu(6)}</ul><p>&copy; 2024 All rights reserved</p></footer>'
        return f"<!DOCTYPE html><html><head><title>x</title></head><body>{header}{main}{aside}{footer}</body></html>"


def _documentation(w: _Writer) -> str:
    sections = "".join(w.heading() + w.paragraph() + w.items() + w.paragraph() for _ in range(3))
    return w.around(f'<div class="content markdown-body">{w.heading("h1")}{w.paragraph()}{sections}</div>')


def _recipe(w: _Writer) -> str:
    parts = f'{w.heading("h1")}{w.paragraph()}{w.heading()}{w.items(attributes=chr(32) + chr(99) + "lass=ingredients")}'
    return w.around(f'<article class="recipe">{parts}{w.heading()}{w.items("ol")}{w.paragraph()}</article>')


def _questions(w: _Writer) -> str:
    pairs = "".join(f"<dt>{w.item()}</dt><dd>{w.item(15, 30)}</dd>" for _ in range(6))
    return w.around(f'<main>{w.heading("h1")}{w.paragraph()}<dl class="faq">{pairs}</dl></main>')


def _forum(w: _Writer) -> str:
    posts = "".join(f'<div class="post"><div class="post-body">{w.paragraph()}{w.items()}</div></div>' for _ in range(4))
    return w.around(f'<div id="thread">{w.heading("h1")}{posts}</div>')


def _shop(w: _Writer) -> str:
    facts = "".join(f"<tr><th>Part {n}</th><td>{w.item(3, 6)}</td></tr>" for n in range(5))
    parts = f'{w.heading("h1")}{w.paragraph()}{w.heading()}{w.items(count=6)}<table class="specs">{facts}</table>'
    return w.around(f'<div class="product-description">{parts}{w.paragraph()}</div>')


def _wiki(w: _Writer) -> str:
    nested = f"<ul><li>{w.item()}{w.items()}</li><li>{w.item()}</li></ul>"
    parts = f'{w.heading("h1")}{w.paragraph()}{w.paragraph()}{w.heading()}{nested}{w.paragraph()}{w.heading("h3")}'
    return w.around(f'<div id="bodyContent"><div class="mw-parser-output">{parts}{w.items()}</div></div>')


def _layout_table(w: _Writer) -> str:
    menu = "".join(f'<a href="/{n}">x</a><br>' for n in range(6))
    cell = f'{w.heading("h1")}{w.paragraph()}{w.items()}{w.paragraph()}{w.heading()}{w.items()}{w.paragraph()}'
    return f"<html><body><table width=100%><tr><td width=150>{menu}</td><td>{cell}</td></tr></table></body></html>"


def _blog(w: _Writer) -> str:
    parts = "".join(w.paragraph() + w.heading("h3") + w.items("ol") for _ in range(2))
    share = '<div class="share-buttons"><a href="#">Share</a><a href="#">Tweet</a></div>'
    return w.around(f'<div class="post hentry">{w.heading("h1")}{parts}{w.paragraph()}{share}</div>')


KINDS: dict[str, Callable[[_Writer], str]] = {
    "documentation": _documentation,
    "recipe": _recipe,
    "questions": _questions,
    "forum": _forum,
    "shop": _shop,
    "wiki": _wiki,
    "layout table": _layout_table,
    "blog": _blog,
}


def mixed_pages(each: int) -> Iterator[Page]:
    """So many pages of each kind; always the same ones."""
    for kind, make in KINDS.items():
        for number in range(each):
            writer = _Writer(random.Random(f"{kind} {number}"))
            yield Page(kind, make(writer), writer.lines)
