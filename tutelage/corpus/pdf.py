"""The text of a PDF, by pdfium."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from tutelage.corpus.hard_lines import SOFT_HYPHEN, join_pages, without_running_lines
from tutelage.corpus.ocr import DOTS_PER_POINT, Ocr
from tutelage.corpus.pdf_columns import Box, column_order
from tutelage.extras import load

_MAX_PAGES, _MAX_BOXES = 5000, 20_000
# What browsers print above and below a page: "11/30/26, 2:07 AM Title", and the address with the number of the page.
_PRINTED_AT = re.compile(r"\d{1,4}[/.-]\d{1,2}[/.-]\d{2,4}, \d{1,2}:\d{2}(?:\s?[AP]M)?(?:\s.*)?")
_PRINTED_FROM = re.compile(r"(?:https?|file)://\S+ \d+/\d+")


class PdfText(NamedTuple):
    """What is in a PDF.

    text:    its paragraphs, with an empty line between pages unless a paragraph goes on; "" if there is none.
    problem: why nothing could be read.
    pages:   how many it has.
    unread:  pages that cannot be read.
    blank:   pages without text, such as pictures.
    scanned: pages whose text comes from their picture.
    """

    text: str
    problem: str = ""
    pages: int = 0
    unread: int = 0
    blank: int = 0
    scanned: int = 0


def pdf_text(content: bytes, ocr: Ocr | None = None) -> PdfText:
    """The text of a PDF: lines joined to paragraphs, without running titles and page numbers. Pages without text are
    read by `ocr`, if it is given."""
    pdfium = load("pypdfium2")
    try:
        paper = pdfium.PdfDocument(content)
    except (pdfium.PdfiumError, ValueError) as error:
        return PdfText("", "PDF with a password" if "password" in str(error).lower() else "unreadable PDF")
    pages: list[str] = []
    count = len(paper)
    unread = max(count - _MAX_PAGES, 0)
    scanned = 0
    try:
        for number in range(min(count, _MAX_PAGES)):
            try:
                page = paper[number]
                words = page.get_textpage()
                text = without_print_lines(_tidy(_page_text(words)))
                words.close()
                if ocr is not None and not text:
                    text = _tidy(ocr.text(page.render(scale=DOTS_PER_POINT, grayscale=True).to_numpy()))
                    scanned += bool(text)
                pages.append(text)
                page.close()
            except pdfium.PdfiumError:
                unread += 1
    finally:
        paper.close()
    blank = sum(not page for page in pages)
    return PdfText(_paragraphs([page for page in pages if page]), "", count, unread, blank, scanned)


def _page_text(words: Any) -> str:
    """The text of a page, column by column."""
    boxes = [Box(*words.get_rect(number)) for number in range(min(words.count_rects(), _MAX_BOXES))]
    regions = column_order(boxes)
    if not regions:
        return words.get_text_range()
    return "\n".join(words.get_text_bounded(*region) for region in regions)


def _paragraphs(pages: list[str]) -> str:
    return join_pages([page for page in without_running_lines(pages) if page])


def _tidy(text: str) -> str:
    """Normalise line ends, and hyphens at them."""
    # pdfium writes U+FFFE, or U+0002 in older files, for a soft hyphen at a line end, with or without the line end.
    text = re.sub("[\ufffe\x02](?:\r?\n)?", f"{SOFT_HYPHEN}\n", text)
    lines = (line.rstrip() for line in text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "").split("\n"))
    return "\n".join(lines).strip()


def without_print_lines(page: str) -> str:
    """A page without the date and the address that a browser prints on it."""
    lines = page.split("\n")
    if not any(_PRINTED_FROM.fullmatch(line) for line in lines):
        return page
    return "\n".join(line for line in lines if not (_PRINTED_FROM.fullmatch(line) or _PRINTED_AT.fullmatch(line)))
