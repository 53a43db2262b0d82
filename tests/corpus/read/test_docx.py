from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from tutelage.corpus.read import documents
from tutelage.ledger import Ledger

docx = pytest.importorskip("docx")


def word_file(path: Path) -> None:
    document = docx.Document()
    document.add_heading("The lamp", 1)
    document.add_paragraph("The keeper of the light rose early.")
    table = document.add_table(2, 3)
    for row, cells in zip(table.rows, [("Year", "Ships", ""), ("2003", "12 | 13", "few")], strict=True):
        for cell, text in zip(row.cells, cells, strict=True):
            cell.text = text
    table.rows[0].cells[1].merge(table.rows[0].cells[2])
    document.add_paragraph("He went home.")
    document.core_properties.author = "Anna"
    document.save(str(path))


def read(path: Path) -> tuple[list[str], list[str]]:
    ledger = Ledger("read")
    texts = [document.text for document in documents(str(path), ledger)]
    ledger.check()
    return texts, list(ledger.dropped)


def test_paragraphs_and_tables_come_in_order(tmp_path: Path) -> None:
    path = tmp_path / "a.docx"
    word_file(path)
    (document,) = documents(str(path), Ledger("read"))
    lines = ["The lamp", "The keeper of the light rose early.", "| Year | Ships |", "| 2003 | 12 / 13 | few |"]
    assert document.text.split("\n") == [*lines, "He went home."]
    assert document.meta["author"] == "Anna"


def test_what_cannot_be_read_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.docx"
    word_file(path)
    whole = path.read_bytes()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as parts:
        parts.writestr("readme.txt", "no Word file")
    for content, reason in (
        (whole[: len(whole) // 2], "unreadable Word file"),
        (packed.getvalue(), "unreadable Word file"),
        (b"\xd0\xcf\x11\xe0" + bytes(600), "Word file with a password, or of an old format"),
        (b"", "empty"),
    ):
        path.write_bytes(content)
        assert read(path) == ([], [reason])


def test_an_empty_file_has_no_text(tmp_path: Path) -> None:
    docx.Document().save(str(tmp_path / "a.docx"))
    assert read(tmp_path / "a.docx") == ([], ["Word file without text"])
