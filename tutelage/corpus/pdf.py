"""The text of a PDF, by pdfium."""

from __future__ import annotations

from tutelage.extras import load

_MAX_PAGES = 5000


def pdf_text(content: bytes) -> tuple[str | None, int]:
    """The text of a PDF (None if it is unreadable), and the number of unreadable pages."""
    pdfium = load("pypdfium2")
    try:
        paper = pdfium.PdfDocument(content)
    except (pdfium.PdfiumError, ValueError):
        return None, 0
    pages: list[str] = []
    unread = max(len(paper) - _MAX_PAGES, 0)
    try:
        for number in range(min(len(paper), _MAX_PAGES)):
            try:
                page = paper[number]
                words = page.get_textpage()
                pages.append(_tidy(words.get_text_range()))
                words.close()
                page.close()
            except pdfium.PdfiumError:
                unread += 1
    finally:
        paper.close()
    return "\n\n".join(page for page in pages if page), unread


def _tidy(text: str) -> str:
    """Normalise line ends, and join words that were hyphenated at a line end."""
    # pdfium writes U+FFFE, or U+0002 in older files, for a soft hyphen at a line end.
    for mark in ("\ufffe\r\n", "\ufffe\n", "\x02\r\n", "\x02\n", "\ufffe", "\x02"):
        text = text.replace(mark, "")
    lines = (line.rstrip() for line in text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "").split("\n"))
    return "\n".join(lines).strip()
