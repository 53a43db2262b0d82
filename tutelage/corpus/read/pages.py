"""Readers of files with one document each: HTML and PDF."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from tutelage.corpus.extract_worker import ExtractWorker
from tutelage.corpus.ocr import Ocr
from tutelage.io.byte_reader import MAX_RECORD_BYTES, note_lost, read_bytes
from tutelage.io.decode import decode, is_binary
from tutelage.ledger import Ledger
from tutelage.records import Document

# A paper of a thousand pages takes a few seconds.
PAGES_WITHOUT_TEXT = "pages without text in a PDF"
PDF_MEBIBYTES = 100.0  # of the file
_PDF_SECONDS, _PDF_MEMORY_MEBIBYTES = 60.0, 4096
OCR_PAGES, PDF_PAGES = "pages read by OCR", "pages of PDF"
_OCR_SECONDS = 3600.0  # a page takes a few


def content_of(path: str, ledger: Ledger, mebibytes: float = MAX_RECORD_BYTES >> 20) -> bytes | str:
    """The content of a file, or the reason why it cannot be read."""
    limit = int(mebibytes * 2**20)
    with read_bytes(path) as reader:
        content = reader.read(limit + 1)
    if len(content) > limit:
        return f"larger than {mebibytes:g} MiB"
    if reader.damage:
        note_lost(reader.damage, path, ledger)
        return reader.damage.reason
    return content if content.strip() else "empty"


def html_documents(path: str, ledger: Ledger) -> Iterator[Document]:
    """A raw HTML file. A later step extracts the text."""
    ledger.read()
    content = content_of(path, ledger)
    if isinstance(content, bytes) and is_binary(content):
        content = "not text"
    if isinstance(content, str):
        ledger.drop(content, where=path)
        return
    text, remark = decode(content)
    if remark:
        ledger.note(remark, where=path)
    ledger.keep()
    yield Document(text, path, {"content_type": "text/html"})


def pdf_documents(
    path: str, ledger: Ledger, max_blank: float = 1.0, ocr: Ocr | None = None, mebibytes: float = PDF_MEBIBYTES
) -> Iterator[Document]:
    """The text of a PDF: paragraphs, with an empty line between pages. Encrypted, broken, image-only and larger files
    are counted, and so are pages without text; a file of which more than the share `max_blank` has none is dropped.
    `ocr` reads pages without text; their share stands in the metadata of the document, as `ocr_share`."""
    ledger.read()
    content = content_of(path, ledger, mebibytes)
    if isinstance(content, str):
        ledger.drop(content, where=path)
        return
    found = _pdf_worker(ocr).text(content)
    if found.unread:
        ledger.note("PDF with unreadable pages", where=path)
    if not found.text:
        ledger.drop(found.problem or "PDF without text", where=path)
        return
    if found.blank:
        ledger.note(PAGES_WITHOUT_TEXT, found.blank, where=f"{path} ({found.blank} of {found.pages})")
    if found.blank > max_blank * found.pages:
        ledger.drop("PDF with too many pages without text", where=path)
        return
    ledger.keep()
    facts: dict[str, str | float] = {}
    if ocr is not None:
        ledger.note(PDF_PAGES, found.pages, where=path)
    if found.scanned:
        ledger.note(OCR_PAGES, found.scanned, where=f"{path} ({found.scanned} of {found.pages})")
        facts["ocr_share"] = round(found.scanned / found.pages, 4)
    yield Document(found.text, path, {"content_type": "application/pdf"}, facts=facts)


@cache
def _pdf_worker(ocr: Ocr | None) -> ExtractWorker:
    return ExtractWorker("pdf", _PDF_SECONDS if ocr is None else _OCR_SECONDS, _PDF_MEMORY_MEBIBYTES, ocr)
