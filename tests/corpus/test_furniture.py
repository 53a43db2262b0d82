"""Elements are furniture by whole names only, and never where they hold the text of a page."""

from __future__ import annotations

from typing import get_args

import pytest

from tutelage.corpus.page_text import Mode, page_text

SENTENCES = [
    "The keeper of the light rose early on each day of the year, and looked at the sea while he worked.",
    "On bad days he kept the light burning for the ships, and his brother came up from the village to help him.",
    "In the winter the storms were long, so that the bread was hard before the boat with the mail came again.",
]
PARAGRAPHS = "".join(f"<p>{sentence}</p>" for sentence in SENTENCES)
OTHER = "".join(f"<p>Our shop sells rope number {n}, and it is delivered within three days to you.</p>" for n in "123")


def page(body: str) -> str:
    return f"<!DOCTYPE html><html><head><title>T</title></head><body>{body}</body></html>"


@pytest.mark.parametrize(
    "attribute",
    [
        *(
            f'class="{name}"'
            for name in ["post comments-open", "entry has-caption", "format-gallery", "recipe-cookies"]
        ),
        *(f'class="{name}"' for name in ["post category-related-art", "tag-cookie", "no-comments", "topic-newsletter"]),
        *(f'class="{name}"' for name in ["tag-print-media", "category-search-engines", "post-with-gallery"]),
        *(f'id="{name}"' for name in ["comment-on-policy", "share-of-water", "popular-music"]),
    ],
)
@pytest.mark.parametrize("title", ["<h1>Lamp</h1>", ""])
@pytest.mark.parametrize("tag", ["article", "main", "div", "section"])
def test_class_names_of_an_article_do_not_remove_it(tag: str, title: str, attribute: str) -> None:
    text = page_text(page(f"<{tag} {attribute}>{title}{PARAGRAPHS}</{tag}><div>{OTHER}</div>"), "fast")
    assert all(sentence in text for sentence in SENTENCES)


@pytest.mark.parametrize("name", ["caption", "comments", "gallery", "sidebar", "menu", "social", "footer", "popup"])
def test_class_names_of_what_holds_most_of_a_page(name: str) -> None:
    text = page_text(page(f'<div class="{name}"><h1>Lamp</h1>{PARAGRAPHS}</div><p>{OTHER[3:90]}</p>'), "fast")
    assert all(sentence in text for sentence in SENTENCES)


@pytest.mark.parametrize(
    "inner", ['<span class="{}">lit</span>', '<abbr id="{}">lit</abbr>', '<b class="{}"><i>lit</i></b>']
)
@pytest.mark.parametrize(
    "name", ["tooltip", "has-tooltip", "related-term", "menu", "popup", "comment", "social", "print-x"]
)
def test_class_names_inside_a_sentence_do_not_remove_words(name: str, inner: str) -> None:
    body = f"<article>{PARAGRAPHS}<p>He {inner.format(name)} the lamp and went home to his wife.</p></article>"
    assert "He lit the lamp and went home" in page_text(page(body), "fast")


@pytest.mark.parametrize("name", ["comments", "comment-list", "relatedPosts", "wp-caption-text", "cookie-banner"])
def test_whole_class_names_remove_furniture(name: str) -> None:
    body = (
        f'<article><h1>Lamp</h1>{PARAGRAPHS}</article><div class="{name}"><p>Buy our rope now, it is cheap.</p></div>'
    )
    assert "rope" not in page_text(page(body), "fast")


@pytest.mark.parametrize("mode", get_args(Mode))
@pytest.mark.parametrize(
    ("begin", "end"),
    [
        ('<main><aside class="direct-content"><section>', "</section></aside></main>"),
        ('<div id="navigation-container"><div class="content"><article>', "</article></div></div>"),
        ('<div class="print-only"><div class="article">', "</div></div>"),
        ("<nav><div>", "</div></nav>"),
        ('<footer class="page"><div>', "</div></footer>"),
        ('<header class="site-header"><div>', "</div></header>"),
        ('<div class="modal">', "</div>"),
        ('<div class="a"><div class="sidebar"><div class="wrapper">', "</div></div></div>"),
    ],
)
def test_wrapper_page(mode: Mode, begin: str, end: str) -> None:
    if mode == "careful":
        pytest.importorskip("lxml_html_clean", reason="trafilatura needs it")
    text = page_text(page(f"{begin}{PARAGRAPHS}{end}"), mode)
    assert all(sentence in text for sentence in SENTENCES)


def test_wrapper_page_in_pieces_is_read_without_its_menus() -> None:
    menu = '<nav><a href="/">Home</a> <a href="/b">Lamps</a></nav><ul><li><a href="/c">Contact</a></li></ul>'
    body = "".join(f'<div class="sidebar">{sentence}</div>' for sentence in SENTENCES)
    text = page_text(page(menu + body), "fast")
    assert all(sentence in text for sentence in SENTENCES)
    assert "Contact" not in text
    assert "Home" not in text


def test_layout_table_is_unwrapped_for_the_careful_way() -> None:
    pytest.importorskip("lxml_html_clean", reason="trafilatura needs it")
    menu = '<td><a href="/">Home</a><br><a href="/b">Lamps</a></td>'
    inner = f"<table><tr><td><table><tr><td>{PARAGRAPHS}</td></tr></table></td></tr></table>"
    for content in (PARAGRAPHS, inner):
        text = page_text(page(f'<table width="100%"><tr>{menu}<td><h1>Lamp</h1>{content}</td></tr></table>'), "careful")
        assert "|" not in text
        assert [line for line in text.split("\n") if line.strip()][-3:] == SENTENCES


LISTS = [
    "<ul><li>Take the flour out of the cupboard</li><li>Add two eggs</li></ul>",
    "<ol><li>Take the flour out of the cupboard</li><li>Add two eggs</li></ol>",
    "<ul class='steps'><li>Take the <a href='/f'>flour</a> out of the cupboard<ul><li>Add two eggs</li></ul></li></ul>",
    "<ul><li><p>Take the flour out of the cupboard</p></li><li><p>Add two eggs</p></li></ul>",
]


@pytest.mark.parametrize("items", LISTS)
def test_lists_of_text_are_kept(items: str) -> None:
    menu = "<nav><ul><li><a href='/'>Home</a></li></ul></nav>"
    text = page_text(page(f"{menu}<article><h1>Cake</h1>{PARAGRAPHS}{items}{PARAGRAPHS}</article>"), "fast")
    assert "Take the flour out of the cupboard" in text
    assert "Add two eggs" in text
    assert "Home" not in text


def test_lists_of_links_are_no_text() -> None:
    links = "".join(f"<li><a href='/{n}'>Another story, number {n}</a></li>" for n in range(5))
    body = (
        f"<article><h1>Cake</h1>{PARAGRAPHS}<ul>{links}</ul><ul class='tags'><li>cake</li></ul>{PARAGRAPHS}</article>"
    )
    text = page_text(page(body), "fast")
    assert "Another story" not in text
    assert "cake" not in text


def test_soft_hyphens_are_removed() -> None:
    assert "lighthouse keeper" in page_text(
        page(f"<article>{PARAGRAPHS}<p>The light&shy;house keeper.</p></article>"), "fast"
    )
