"""The index of a page says of each element what its tree says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.corpus.page_index import INLINE_TAGS, PageIndex

trees = pytest.importorskip("resiliparse.parse.html")

TEXTS = st.sampled_from(
    ["word ", " ", "ä€", "\u3000", "a<b", "x &amp; y", "&nbsp;", "<!-- <p>no</p> -->", "\t\n", "&lt;p&gt;"]
)
TAGS = st.sampled_from("p div a span b li ul nav h1 article figure td table iframe noscript textarea xmp".split())
NAMES = st.sampled_from(
    ["", ' class="a b"', " id='x>y'", ' title="<p>" class=\'"q"\'', " CLASS=Menu id=i", ' class="&amp;"']
)


def _element(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds(
        lambda tag, name, body: f"<{tag}{name}>{''.join(body)}</{tag}>", TAGS, NAMES, st.lists(inner, max_size=4)
    )


PAGES = st.lists(
    st.recursive(
        TEXTS | st.sampled_from(["<br>", "<svg id=s><a>t</a><path/></svg>"]) | st.just('<img alt="a>b">'),
        _element,
        max_leaves=20,
    ),
    max_size=5,
)


def visible(text: str) -> int:
    return len(text) - sum(map(text.count, " \n\t"))


def in_sentence(element: Any) -> bool:
    """The rule of `named_in_sentences`, told by nodes."""
    in_paragraph, before, after = False, False, False
    around = element
    while around is not None and around.tag in INLINE_TAGS:
        sides = [
            node is not None and node.tag == "#text" and bool(node.value.strip()) for node in (around.prev, around.next)
        ]
        before, after = before or sides[0], after or sides[1]
        around = around.parent
    if around is None or around.tag in ("figure", "figcaption"):
        return False
    found = before or after if around.tag in ("p", "li", "td", "h1") else before and after
    while around is not None and not in_paragraph:
        in_paragraph, around = around.tag == "p", around.parent
    return found and (element.tag != "a" or in_paragraph)


@settings(max_examples=150, deadline=None)
@given(PAGES)
def test_index_says_what_the_tree_says(parts: list[str]) -> None:
    body = trees.HTMLTree.parse(f"<html><body>{''.join(parts)}</body></html>").body
    index = PageIndex(body)
    elements = [body, *body.query_selector_all("*").values()]
    assert len(index.kinds) == len(elements)
    for number, element in enumerate(elements):
        links = element.get_elements_by_tag_name("a").values()
        assert index.characters[number] == visible(element.text)
        assert index.prose[number] == visible(element.text) - sum(visible(link.text) for link in links)
        assert index.names(number) == f"{element.class_name or ''} {element.id or ''}"
        assert index.paragraphs[number] == sum(child.tag == "p" for child in element.children.values())
        titles = element.query_selector("h1, article, main")
        assert index.is_article(number) == (element.tag in ("article", "main") or titles is not None)
        assert [elements[child] for child in index.children(number)] == element.children.values()
    named = [number for number, element in enumerate(elements) if element.tag in INLINE_TAGS]
    named = [number for number in named if elements[number].hasattr("class") or elements[number].hasattr("id")]
    assert index.named_in_sentences() == [number for number in named if in_sentence(elements[number])]
    wanted = range(1, len(elements), 2)
    assert index.nodes(body, wanted) == {number: elements[number] for number in wanted}


def test_deep_page_is_indexed() -> None:
    body = trees.HTMLTree.parse("<div>" * 3000 + "word").body
    index = PageIndex(body)
    assert index.characters[0] == 4
    assert set(index.nodes(body, [1500])) == {1500}


def test_template_is_no_part_of_the_tree() -> None:
    body = trees.HTMLTree.parse("<p>a</p><template><p>bb<template>c</template></p></template><p class=x>ddd</p>").body
    index = PageIndex(body)
    assert len(index.kinds) == 4
    assert index.characters.tolist() == [4, 1, 0, 3]
    assert index.names(3) == "x "
