"""The table of characters says what Python says of them."""

from __future__ import annotations

import unicodedata

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tutelage.text.characters import (
    BREAK,
    EDGE,
    LAST,
    LETTER,
    LOWER,
    NUMBER,
    SPACE,
    SYMBOL,
    TERMINAL,
    UNSPACED,
    UPPER,
    character_classes,
    lowered,
)


@given(st.characters(max_codepoint=LAST - 1))
def test_classes_are_those_python_knows(character: str) -> None:
    kind = int(character_classes()[ord(character)])
    assert bool(kind & SPACE) == character.isspace()
    assert bool(kind & LETTER) == character.isalpha()
    assert bool(kind & BREAK) == (len(f"a{character}b".splitlines()) == 2)
    assert bool(kind & NUMBER) == (unicodedata.category(character)[0] == "N")
    assert not kind & SPACE or not kind & (LETTER | NUMBER | SYMBOL)
    small = character.lower()
    assert chr(lowered()[ord(character)]) == (small if len(small) == 1 else character)


def test_marks_and_letters_of_note() -> None:
    def of(character: str) -> int:
        return int(character_classes()[ord(character)])

    assert all(of(character) & TERMINAL for character in ".!?。؟।")
    assert not any(of(character) & TERMINAL for character in "…,:;\"')")
    assert all(of(character) & EDGE and of(character) & SYMBOL for character in "(\"',;“»<>$€😀")
    assert not any(of(character) & EDGE for character in ".-/@+|~^")
    assert of("a") & LOWER and of("A") & UPPER and of("中") & UNSPACED and not of("\u0301") & SYMBOL


def test_what_stands_above_the_table_is_a_letter() -> None:
    assert character_classes()[LAST] == LETTER
    np.testing.assert_array_equal(lowered()[[LAST]], [LAST])
