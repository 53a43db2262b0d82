from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.html import (
    Html,
    badge,
    bullets,
    code,
    columns,
    details,
    facts,
    join,
    link,
    paragraph,
    section,
    table,
    tag,
)

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=40) | st.sampled_from(
    ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "&lt;b&gt;", "</td>", "' onload='", "]]>", "<!--"]
)


class Reader(HTMLParser):
    """Reads markup back as the names of its elements, all attribute values and all text."""

    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=True)
        self.names: list[str] = []
        self.values: list[str] = []
        self.text = ""
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.values += [value or "" for _, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")


@given(ANY_TEXT)
def test_no_text_becomes_markup(text: str) -> None:
    plain = Reader(
        section("t", facts({"a": "b"}), table(["a"], [["b"]]), badge("a"), details("a", "b"), note="n")
        + columns(bullets(["a"]), paragraph("a"))
        + code("a")
    )
    given_text = Reader(
        section("t", facts({text: text}), table([text], [[text]]), badge(text), details(text, text), note=text or "n")
        + columns(bullets([text]), paragraph(text))
        + tag("code", text)
    )
    assert given_text.names == plain.names


@given(ANY_TEXT)
def test_text_and_attributes_read_back_as_they_were(text: str) -> None:
    read = Reader(tag("b", text, attributes={"title": text}))
    assert len(read.text) == len(text.replace("\r\n", "\n"))
    kept = [
        (character, back)
        for character, back in zip(text, read.text, strict=False)
        if back != "\ufffd" and character not in "\r\n"
    ]
    if "\r" not in text:
        assert all(character == back for character, back in kept)
        assert read.values == [read.text]
    read.text.encode()  # nothing is left that a file could not hold


def test_html_is_not_escaped_twice() -> None:
    assert tag("p", tag("b", "a & b"), None, " < c") == "<p><b>a &amp; b</b> &lt; c</p>"
    assert join(["<", None, Html("<br>")], ", ") == "&lt;, <br>"


@pytest.mark.parametrize("target", ["https://a.org/x?y=1", "mailto:a@b.org", "run.html", "../a/b.html#c", "#loss", ""])
def test_links_lead_where_they_may(target: str) -> None:
    assert Reader(link("x", target)).values == [target]


@pytest.mark.parametrize(
    "target", ["javascript:alert(1)", "JavaScript:x", "data:text/html,x", "java\tscript:x", "\x01a"]
)
def test_links_that_could_run_something_are_refused(target: str) -> None:
    with pytest.raises(ValueError, match="cannot link"):
        link("x", target)


def test_a_table_of_uneven_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="row 2 has 1 cells under a header of 2"):
        table(["a", "b"], [["1", "2"], ["3"]])


def test_numeric_columns_align_right_and_prose_keeps_its_width() -> None:
    markup = table(["a", "b"], [["word " * 20, "1"]], numeric=[1])
    assert '<th scope="col" class="number">b</th>' in markup
    assert '<td class="wordy">' in markup
    assert '<td class="number">1</td>' in markup


def test_a_verdict_has_a_sign_beside_its_colour() -> None:
    signs = {Reader(badge("x", tone)).text for tone in ("good", "bad", "warn", "plain")}
    assert len(signs) == 4


def test_code_of_many_lines_is_a_block() -> None:
    assert Reader(code("a")).names == ["code"]
    assert Reader(code("a\nb")).names == ["pre", "code"]
