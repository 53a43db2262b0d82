from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.html import Token, tokens


def parsed(*shown: Token) -> ElementTree.Element:
    markup = tokens(shown, legend=False)
    return ElementTree.fromstring(re.sub(r"<wbr>", "", markup))


def looks(root: ElementTree.Element) -> list[tuple[str, str]]:
    """The text and the classes of each token."""
    return [("".join(one.itertext()), one.get("class", "")) for one in root.findall("div/p/span")]


def test_each_turn_is_named_and_what_is_trained_or_special_is_marked() -> None:
    root = parsed(
        Token("<|user|>", "user", special=True),
        Token(" Hi", "user"),
        Token("<|assistant|>", "assistant", special=True),
        Token(" Ho", "assistant", trained=True),
        Token("<|end|>", "assistant", trained=True, special=True),
    )
    assert [one.get("class") for one in root] == ["turn user", "turn assistant"]
    assert [one.findtext("span") for one in root] == ["user", "assistant"]
    assert looks(root) == [
        ("<|user|>", "special"),
        (" Hi", ""),
        ("<|assistant|>", "special"),
        (" Ho", "trained"),
        ("<|end|>", "trained special"),
    ]


def test_a_document_alone_needs_no_name() -> None:
    assert parsed(Token("a"), Token("b")).findtext("div/span") is None
    assert parsed(Token("a"), Token("b", "user")).findtext("div/span") == "document"


@given(st.lists(st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "Zs"]) | st.just("\n")), max_size=8))
def test_copied_text_is_the_text(texts: list[str]) -> None:
    assert "".join("".join(one.itertext()) for one in parsed(*map(Token, texts))) == "".join(
        "".join(one if one.isprintable() or one == "\n" else f"\\x{ord(one):02x}" for one in text) for text in texts
    )


def test_what_cannot_be_seen_gets_a_sign() -> None:
    markup = tokens([Token(" a\n\t\x07")])
    assert "<i> </i>a" in markup
    assert 'data-sign="⏎"></i>\n' in markup
    assert 'data-sign="⇥"' in markup
    assert "\\x07" in markup


def test_the_legend_explains_what_is_there_and_no_more() -> None:
    assert "legend" not in tokens([Token("a")])
    assert "carry loss" in tokens([Token("a", trained=True)])
    shaded = tokens([Token("a", probability=0.25)])
    assert " probability" in shaded
    assert "trained on" not in shaded
    assert 'style="--sure:0.25"' in shaded


def test_a_token_says_what_it_is_and_one_can_be_reached_by_keyboard() -> None:
    root = parsed(Token("a", title='position 0 "x"'), Token("b"))
    first, second = root.findall("div/p/span")
    assert first.get("title") == 'position 0 "x"'
    assert [first.get("tabindex"), second.get("tabindex")] == ["0", None]


@pytest.mark.parametrize(
    ("token", "problem"),
    [
        (Token("a", "teacher"), "token 1 has the role 'teacher'; use one of document, system"),
        (Token("a", probability=1.5), "token 1 has the probability 1.5"),
        (Token("a", probability=float("nan")), "token 1 has the probability nan"),
    ],
)
def test_a_token_that_cannot_be_shown_is_refused(token: Token, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        tokens([Token("ok"), token])
