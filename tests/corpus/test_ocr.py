"""Pages of PDF without text are read from their pictures where it is asked for, and how many is said."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from pdf_files import across, column, pdf_page, scanned

from tutelage.config import SettingsError
from tutelage.corpus.curation import Curation
from tutelage.corpus.ocr import Ocr, text_of_pieces
from tutelage.corpus.pdf import pdf_text
from tutelage.corpus.pdf_columns import Box
from tutelage.corpus.pipeline import curate
from tutelage.corpus.rules.length import LengthSettings

pdfium = pytest.importorskip("pypdfium2")

FAKE_TESSERACT = """#!/bin/sh
if [ "$1" = --list-langs ]; then printf 'List of languages:\\neng\\ndeu\\n'; exit; fi
echo "read in $4"
head -c 15
"""


@pytest.fixture
def tesseract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program of that name that says in which language it was asked, and the head of the picture that it got."""
    program = tmp_path / "bin" / "tesseract"
    program.parent.mkdir()
    program.write_text(FAKE_TESSERACT)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.usefixtures("tesseract")
def test_a_page_without_text_goes_to_tesseract() -> None:
    white = np.full((792, 612), 255, np.uint8)
    found = pdf_text(scanned(white), Ocr("tesseract", "deu"))
    assert found.text == "read in deu\nP5 2550 3301 25"
    assert (found.pages, found.scanned, found.blank) == (1, 1, 0)
    assert pdf_text(scanned(white)).blank == 1


@pytest.mark.usefixtures("tesseract")
def test_pages_with_text_are_not_read_twice() -> None:
    found = pdf_text(pdf_page([(60, 700, "The keeper")]), Ocr("tesseract"))
    assert (found.text, found.scanned) == ("The keeper", 0)


@pytest.mark.usefixtures("tesseract")
def test_a_curation_says_how_much_was_read_by_ocr(tmp_path: Path) -> None:
    files = tmp_path / "in"
    files.mkdir()
    (files / "a.pdf").write_bytes(scanned(np.full((792, 612), 255, np.uint8)))
    (files / "b.pdf").write_bytes(pdf_page([(60, 700, "The keeper of the light")]))
    steps = {"short": LengthSettings(shortest=1)}
    recipe = Curation(name="ocr", input=str(files), steps=steps, workers=1, ocr="tesseract", ocr_languages="eng+deu")
    result = curate(recipe, tmp_path / "out")
    assert result["warnings"][0] == "1 pages of PDF, 50%, were read by OCR, first in in/a.pdf (1 of 1)"
    assert "ocr_share" in str(result["metadata"])


@pytest.mark.usefixtures("tesseract")
def test_an_unknown_language_is_an_error() -> None:
    with pytest.raises(ValueError, match="does not know 'fra'; it knows eng, deu"):
        Ocr("tesseract", "eng+fra").check()
    with pytest.raises(SettingsError, match="ocr_languages needs"):
        Curation(name="a", input="a", steps={}, ocr="rapidocr", ocr_languages="deu")


def test_tesseract_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ValueError, match="no program tesseract"):
        Ocr("tesseract").check()


def test_pieces_are_put_in_reading_order() -> None:
    columns = [[(Box(x, 700 - 12 * n, x + 220, 708 - 12 * n), f"{name}{n}") for n in range(12)] for x, name in COLUMNS]
    title = (Box(60, 740, 300, 750), "title")
    mixed = [title, *(piece for pair in zip(*columns, strict=True) for piece in pair)]
    assert text_of_pieces(mixed[::-1]).split() == ["title", *(text for own in columns for _, text in own)]
    assert text_of_pieces([(Box(50, 0, 90, 10), "b"), (Box(0, 1, 40, 11), "a"), (Box(0, 20, 40, 30), "x")]) == "x\na b"
    assert text_of_pieces([]) == ""


COLUMNS = [(60, "l"), (320, "r")]


@pytest.mark.slow
def test_rapidocr_reads_two_columns() -> None:
    pytest.importorskip("rapidocr")
    columns = {60.0: column("Harbour", 44, 6), 320.0: column("Engine", 44, 6)}
    page = pdfium.PdfDocument(pdf_page([(60, 740, "A paper on lights"), *across(columns)]))[0]
    picture = page.render(scale=200 / 72, grayscale=True).to_numpy()
    found = pdf_text(scanned(picture), Ocr("rapidocr"))
    words = " ".join(["A paper on lights", *(line for own in columns.values() for line in own)]).split()
    same = set(words) & set(found.text.split())
    assert len(same) >= 0.8 * len(set(words))
    assert found.text.index("Engine") > found.text.index("Harbour") + 100
