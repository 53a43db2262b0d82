from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tutelage.corpus.read.pages import PAGES_WITHOUT_TEXT, html_documents, pdf_documents
from tutelage.ledger import Ledger


def pdf(lines: list[str]) -> bytes:
    """A PDF with one line on each page, as small as one can be."""
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", ""]
    kids = []
    for line in lines:
        page = len(objects) + 1
        kids.append(f"{page} 0 R")
        words = f"BT /F1 24 Tf 72 700 Td ({line}) Tj ET"
        font = "<< /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >>"
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources {font} /Contents {page + 1} 0 R >>"
        )
        objects.append(f"<< /Length {len(words)} >>\nstream\n{words}\nendstream")
    objects[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids)} >>"
    content, places = b"%PDF-1.4\n", []
    for number, one in enumerate(objects, 1):
        places.append(len(content))
        content += f"{number} 0 obj\n{one}\nendobj\n".encode()
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    end = f"xref\n0 {len(places) + 1}\n0000000000 65535 f \n{table}trailer\n<< /Size {len(places) + 1} /Root 1 0 R >>\n"
    return content + f"{end}startxref\n{len(content)}\n%%EOF".encode()


def read(path: Path, content: bytes) -> tuple[list[str], list[str]]:
    path.write_bytes(content)
    ledger = Ledger("read")
    reader = pdf_documents if path.suffix == ".pdf" else html_documents
    texts = [document.text for document in reader(str(path), ledger)]
    ledger.check()
    return texts, list(ledger.dropped)


def test_the_pages_of_a_pdf_are_apart_by_an_empty_line(tmp_path: Path) -> None:
    assert read(tmp_path / "a.pdf", pdf(["First words", "Second words"])) == (["First words\n\nSecond words"], [])


def test_a_pdf_that_cannot_be_read_is_counted(tmp_path: Path) -> None:
    whole = pdf(["First words"])
    assert read(tmp_path / "a.pdf", b"%PDF-1.4\nrubbish") == ([], ["unreadable PDF"])
    assert read(tmp_path / "a.pdf", pdf([""])) == ([], ["PDF without text"])
    assert read(tmp_path / "a.pdf", b"") == ([], ["empty"])
    for cut in range(0, len(whole), 29):  # wherever it is cut: text, or a reason
        texts, reasons = read(tmp_path / "a.pdf", whole[:cut])
        assert len(texts) + len(reasons) == 1


def test_a_page_of_html_is_decoded_and_left_as_it_is(tmp_path: Path) -> None:
    page = '<meta charset="windows-1251"><p>Все счастливые семьи похожи друг на друга</p>'
    assert read(tmp_path / "a.html", page.encode("windows-1251")) == ([page], [])
    assert read(tmp_path / "a.html", bytes(range(32)) * 30) == ([], ["not text"])


def test_samples_of_real_pdfs(data: Callable[[str], Path]) -> None:
    found: dict[str, str] = {}
    ledger = Ledger("read")
    for path in sorted(data("pdf_samples").rglob("*.pdf")):
        for document in pdf_documents(str(path), ledger):
            found[path.name] = document.text
    ledger.check()
    assert "Lorem ipsum" in found["minimal-document.pdf"]
    assert "libreoffice-writer-password.pdf" not in found  # encrypted
    assert "imagemagick-lzw.pdf" not in found  # a picture
    assert all("\ufffe" not in text and "\0" not in text for text in found.values())


def test_pdf_pictures(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(pdf(["Title page only.", "", "", ""]))
    for most, kept in ((1.0, 1), (0.75, 1), (0.7, 0)):
        ledger = Ledger("read")
        assert len(list(pdf_documents(str(path), ledger, most))) == kept
        ledger.check()
        noted = ledger.noted[PAGES_WITHOUT_TEXT]
        assert (noted.rows, noted.examples) == (3, [f"{path} (3 of 4)"])
        assert list(ledger.dropped) == ([] if kept else ["PDF with too many pages without text"])


def test_a_pdf_with_a_password_is_told_from_a_broken_one(data: Callable[[str], Path]) -> None:
    (path,) = data("pdf_samples").rglob("libreoffice-writer-password.pdf")
    ledger = Ledger("read")
    assert list(pdf_documents(str(path), ledger)) == []
    assert list(ledger.dropped) == ["PDF with a password"]
