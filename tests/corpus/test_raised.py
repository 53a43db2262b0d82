from __future__ import annotations

from typing import get_args

import pytest

from tutelage.corpus.page_text import Mode, page_text
from tutelage.corpus.raised import lowered, raised

P = "<p>The keeper of the light rose early on each day of the year, and looked at the sea while he worked.</p>"


@pytest.mark.parametrize(
    ("before", "text", "after", "written"),
    [
        ("10", "6", "", "^6"),
        ("10", "−6", "", "^−6"),
        ("x", "2", "", "^2"),
        ("km", "2", "", "^2"),
        ("x", "n+1", "", "^(n+1)"),
        ("e", "iπ", "", "^(iπ)"),
        ("Ca", "2+", "", "^2+"),
        ("2", "1", "/2", " 1"),
        ("1", "st", "", "st"),
        ("3", "e", "", "e"),
        ("lamp", "1", "", "1"),
        ("end. ", "1", "", "1"),
        ("Tutelage", "TM", "", "TM"),
        ("", "14", "C", "14"),
    ],
)
def test_superscripts_that_change_a_meaning_are_marked(before: str, text: str, after: str, written: str) -> None:
    assert raised(before, text, after) == written


@pytest.mark.parametrize(
    ("before", "text", "written"),
    [
        ("H", "2", "2"),
        ("Ca(OH)", "2", "2"),
        ("x", "i", "_i"),
        ("log", "2", "_2"),
        ("10", "2", "_2"),
        ("lamp", "1", "1"),
    ],
)
def test_subscripts(before: str, text: str, written: str) -> None:
    assert lowered(before, text) == written


@pytest.mark.parametrize("mode", get_args(Mode))
@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("10<sup>6</sup> candles", "10^6 candles"),
        ("5 × <b>10</b><sup>8</sup> of them", "5 × 10^8 of them"),
        ("x<sub>i</sub><sup>2</sup> of oil", "x_i^2 of oil"),
        ("<i>mc</i><sup>2</sup> of it", "mc^2 of it"),
        ("H<sub>2</sub>O and 21<sup>st</sup> lamp", "H2O and 21st lamp"),
        ("2<sup>1</sup>/<sub>2</sub> cups", "2 1/2 cups"),
        ("year 1990<sup><a href='#n1'>4</a></sup> then", "year 1990[4] then"),
    ],
)
def test_superscripts_of_a_page(markup: str, text: str, mode: Mode) -> None:
    if mode == "careful":
        pytest.importorskip("lxml_html_clean", reason="trafilatura needs it")
    assert text in page_text(f"<html><body><article>{P}<p>There are {markup}.</p>{P}</article></body></html>", mode)
