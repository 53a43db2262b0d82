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
    return [("".join(element.itertext()), element.get("class", "")) for element in root.findall("div/p/span")]


def test_each_turn_is_named_and_what_is_trained_or_special_is_marked() -> None:
    root = parsed(
        Token("<|user|>", "user", special=True),
        Token(" Hi", "user"),
        Token("<|assistant|>", "assistant", special=True),
        Token(" Ho", "assistant", trained=True),
        Token("<|end|>", "assistant", trained=True, special=True),
    )
    assert [element.get("class") for element in root] == ["turn user", "turn assistant"]
    assert [element.findtext("span") for element in root] == ["user", "assistant"]
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
    assert "".join("".join(element.itertext()) for element in parsed(*map(Token, texts))) == "".join(
        "".join(char if char.isprintable() or char == "\n" else f"\\x{ord(char):02x}" for char in text)
        for text in texts
    )


def test_white_space_is_made_visible() -> None:
    markup = tokens([Token(" a\n\t\x07")])
    assert "<i> </i>a" in markup
    assert 'data-sign="⏎"></i>\n' in markup
    assert 'data-sign="⇥"' in markup
    assert "\\x07" in markup


def test_the_legend_explains_the_styles_in_use() -> None:
    assert "legend" not in tokens([Token("a")])
    assert "carry loss" in tokens([Token("a", trained=True)])
    shaded = tokens([Token("a", probability=0.25)])
    assert " probability" in shaded
    assert "trained on" not in shaded
    assert 'style="--sure:0.25"' in shaded


def test_tokens_have_tooltips_and_keyboard_focus() -> None:
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
def test_invalid_tokens_are_refused(token: Token, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        tokens([Token("ok"), token])
