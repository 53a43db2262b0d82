"""Where trafilatura has no name for the main part of a page, or takes one part of several."""

from __future__ import annotations

import pytest

from tests.corpus.test_page_text import SENTENCE
from tutelage.corpus.main_part import name_main_part
from tutelage.corpus.page_text import careful_text

lxml_html = pytest.importorskip("lxml.html")
pytest.importorskip("lxml_html_clean", reason="trafilatura needs it")

MENU = "<ul><li><a href='/'>Home</a></li><li><a href='/about'>About us and our work</a></li></ul>"
PROSE = "".join(f"<p>{SENTENCE} {n}</p>" for n in range(3))


def named(html: str) -> list[str]:
    """The ids of the elements that were given a name."""
    page = lxml_html.fromstring(f"<html><body>{html}</body></html>")
    name_main_part(page)
    return [element.get("id") for element in page.iter() if element.get("itemprop") == "articleBody"]


def test_the_innermost_part_that_holds_nearly_all_is_named_unless_trafilatura_knows_its_name() -> None:
    assert named(f"<div id=a>{MENU}<div id=b>{PROSE}</div></div>") == ["b"]
    assert named(f"<div id=a>{PROSE}<div id=b>{PROSE}</div></div>") == ["a"]
    assert named(f"<article id=a>{MENU}<div id=b>{PROSE}</div></article>") == []
    assert named(f"{PROSE}<ul id=a><li>Short</li></ul>") == [None]  # a new element around all of the body
    assert named("") == [None]


def test_several_parts_with_one_name_are_one_page() -> None:
    posts = "".join(f"<div class=post-body>{PROSE} {n}</div>" for n in range(4))
    assert named(f"{MENU}<div id=thread>{posts}</div>") == ["thread"]
    first = f"<div class=post-body>{PROSE * 5}</div><div class=post-body>{PROSE}</div>"
    assert named(f"<div id=thread>{first}</div>") == []  # an article, and what is related to it
    teasers = "".join(f"<div class=post-body>{SENTENCE}</div>" for _ in range(3))
    assert named(f"<div id=teasers>{teasers}</div><main>{PROSE * 5}</main>") == []
    text = careful_text(f"<html><body>{MENU}<div id=thread>{posts}</div></body></html>")
    assert text.count(SENTENCE) == 12 and "About us" not in text


def test_lists_and_headings_of_a_page_without_a_known_name_are_kept() -> None:
    items = "".join(f"<li>Take {n} lamps to the harbour</li>" for n in range(4))
    page = f"<html><body>{MENU}<div class=x><h2>What to do</h2>{PROSE}<ul>{items}</ul>{PROSE}</div></body></html>"
    text = careful_text(page)
    assert "What to do" in text and all(f"Take {n} lamps" in text for n in range(4))
    assert "Home" not in text
