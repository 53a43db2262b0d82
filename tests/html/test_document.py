from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from tutelage.html import Series, Token, code, line_plot, page, paragraph, section, table, tokens

VOID = {"br", "hr", "input", "meta", "wbr"}


class Nesting(HTMLParser):
    """Every element that opens closes, in order; keeps all start tags."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(document)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


BODY = [
    section("Loss & learning", line_plot([Series("a", [1, 2], [3, 4])], x_label="step", y_label="loss")),
    section("Loss & learning", table(["a"], [["1"]]), note="again"),
    section("!?", tokens([Token("hé\n", "user")]), code("a\nb")),
]
DOCUMENT = page("A <run>", BODY, "What it did.", script="let a = 1 < 2;")


def test_the_page_is_well_formed_and_escaped() -> None:
    assert {tag for tag, _ in Nesting(DOCUMENT).tags} > {"html", "head", "title", "main", "nav", "figure", "svg"}
    assert "<title>A &lt;run&gt;</title>" in DOCUMENT
    assert "let a = 1 < 2;" in DOCUMENT


def test_every_section_can_be_reached_from_the_contents() -> None:
    tags = Nesting(DOCUMENT).tags
    anchors = [attributes["id"] for tag, attributes in tags if tag == "section"]
    targets = [attributes["href"] for tag, attributes in tags if tag == "a"]
    assert anchors == ["loss-learning", "loss-learning-2", "section"]
    assert targets == [f"#{anchor}" for anchor in anchors] * 2
    assert re.findall(r'<li><a href="#loss-learning-2">(.*?)</a>', DOCUMENT) == ["Loss &amp; learning"]


@pytest.mark.parametrize("body", [[], [paragraph("x")], BODY[:1]])
def test_a_short_page_has_no_contents(body: list[str]) -> None:
    assert "<nav" not in page("x", body)


def test_a_page_asks_for_nothing_outside() -> None:
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", DOCUMENT)
    assert not re.findall(r"@import|url\(|<link|<img|<iframe|fetch\(|XMLHttpRequest", DOCUMENT)
    policy = next(attributes["content"] for tag, attributes in Nesting(DOCUMENT).tags if "http-equiv" in attributes)
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy.split("script-src")[1]
    # Only the scripts that the page was made with can run.
    scripts = re.findall(r"<script>(.*?)</script>", DOCUMENT, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert re.findall(r"'sha256-(.*?)'", policy) == hashes
    assert len(hashes) == 2


def test_a_page_follows_light_and_dark_and_narrow_screens() -> None:
    for part in (
        "prefers-color-scheme:dark",
        "[data-theme=dark]",
        "[data-theme=light]",
        'name="viewport"',
        "@container",
    ):
        assert part in DOCUMENT
