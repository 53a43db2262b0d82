"""B22: the lines of two columns were read across."""

from __future__ import annotations

import pytest
from pdf_files import across, by_word, column, pdf_page

from tutelage.corpus.pdf import pdf_text
from tutelage.corpus.pdf_columns import Box, column_order

pytest.importorskip("pypdfium2")


@pytest.mark.parametrize("words", [False, True])
@pytest.mark.parametrize("count", [2, 3])
def test_columns_are_read_one_after_the_other(count: int, *, words: bool) -> None:
    columns = {60 + n * 540 / count: column(f"C{n}-", 44 if count == 2 else 28) for n in range(count)}
    pieces = [(150.0, 740.0, "A paper on the keeping of lights"), *across(columns)]
    text = pdf_text(pdf_page(by_word(pieces) if words else pieces)).text
    assert " ".join(text.split()) == " ".join([pieces[0][2], *(line for own in columns.values() for line in own)])


def test_a_wide_line_ends_the_columns_above_it() -> None:
    above, below = ({60.0: column(f"L{n}-", 48, 20), 320.0: column(f"R{n}-", 48, 20)} for n in "ab")
    wide = "A caption that is as wide as the page, of a picture that shows the lamp, the boat and the keeper."
    text = pdf_text(pdf_page([*across(above), (60, 440, wide), *across(below, 400)])).text
    places = [text.index(part) for part in ("La-0", "Ra-0", "A caption", "Lb-0", "Rb-0")]
    assert places == sorted(places)


def test_tables_are_read_line_by_line() -> None:
    rows = across({60: [f"Name {n}" for n in range(40)], 260: [f"Value {n}" for n in range(40)]})
    assert "Name 7 Value 7" in pdf_text(pdf_page(rows)).text
    terms = across({60: [f"Term {n}" for n in range(30)], 160: column("D", 70, 30)})
    assert "Term 0 D0" in pdf_text(pdf_page(terms)).text


def test_the_order_of_the_content_is_kept_where_it_goes_down_the_columns() -> None:
    left, right = ([Box(x, 700 - 12 * n, x + 220, 708 - 12 * n) for n in range(30)] for x in (60, 320))
    assert column_order([*left, *right]) == []
    assert column_order([box for pair in zip(left, right, strict=True) for box in pair]) != []
    assert column_order([]) == column_order(left) == []
