"""The reader of Word files (.docx), by python-docx."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from typing import Any

from tutelage.corpus.read.pages import content_of
from tutelage.extras import load
from tutelage.io.byte_reader import MAX_RECORD_BYTES
from tutelage.ledger import Ledger
from tutelage.records import Document

_MAX_PARTS_BYTES = 10 * MAX_RECORD_BYTES  # of all parts, unpacked
_UNREADABLE = "unreadable Word file"
_PROPERTIES = ("title", "author", "created")


def docx_documents(path: str, ledger: Ledger) -> Iterator[Document]:
    """The text of a Word file: a paragraph or a heading per line, tables as lines of cells; without headers, footers,
    notes and pictures. Broken, encrypted and too large files are counted."""
    library = load("docx")
    ledger.read()
    content = content_of(path, ledger)
    if isinstance(content, str):
        ledger.drop(content, where=path)
        return
    problem = _problem(content)
    text = ""
    meta: dict[str, str] = {}
    if not problem:
        try:
            text, meta = _text(library.Document(io.BytesIO(content)))
        except Exception:  # whatever a parser raises on a broken file, it is that file which is lost
            problem = _UNREADABLE
    if not text:
        ledger.drop(problem or "Word file without text", where=path)
        return
    ledger.keep()
    yield Document(text, path, {"content_type": "text/plain", **meta})


def _problem(content: bytes) -> str:
    """Why a file cannot be read; "" if it can."""
    if content.startswith(b"\xd0\xcf\x11\xe0"):  # an OLE container: encrypted, or the format before 2007
        return "Word file with a password, or of an old format"
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as parts:
            large = sum(part.file_size for part in parts.infolist()) > _MAX_PARTS_BYTES
            found = any(part.startswith("word/") for part in parts.namelist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return _UNREADABLE
    return f"larger than {_MAX_PARTS_BYTES >> 20} MiB" if large else "" if found else _UNREADABLE


def _text(document: Any) -> tuple[str, dict[str, str]]:
    lines = [line for block in document.iter_inner_content() for line in _lines(block)]
    properties = {name: getattr(document.core_properties, name) for name in _PROPERTIES}
    return "\n".join(lines).strip(), {name: str(value) for name, value in properties.items() if value}


def _lines(block: Any) -> Iterator[str]:
    """The lines of a paragraph or a table."""
    if not hasattr(block, "rows"):
        yield block.text.rstrip()
        return
    for row in block.rows:
        cells: list[str] = []
        before = None
        for cell in row.cells:
            if cell._tc is not before:  # a merged cell comes once per column
                cells.append(" ".join(cell.text.split()).replace("|", "/"))
            before = cell._tc
        if any(cells):
            yield f"| {' | '.join(cells)} |"
