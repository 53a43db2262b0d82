"""Readers: raw files to documents. A reader takes a path and a ledger and yields documents one by one. It counts what
it cannot read, with its place, and continues. `byte_reader.MAX_RECORD_BYTES` bounds memory for any input."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from tutelage.config import suggest
from tutelage.corpus.ocr import Ocr
from tutelage.corpus.read.archives import archive_documents
from tutelage.corpus.read.code import code_documents
from tutelage.corpus.read.docx import docx_documents
from tutelage.corpus.read.dumps import post_documents, xml_documents
from tutelage.corpus.read.pages import PDF_MEBIBYTES, html_documents, pdf_documents
from tutelage.corpus.read.rows import TEXT_BYTES, can_split_text, row_documents, text_documents
from tutelage.corpus.read.warc import arc_documents, warc_documents
from tutelage.io.decode import valid_utf8
from tutelage.io.parts import Part, parts_of
from tutelage.io.rows import can_split
from tutelage.ledger import Ledger
from tutelage.records import Document

# Raise it when a reader gives other documents for the same file: shards are read again.
READING = 5

READERS: dict[str, Callable[..., Iterator[Document]]] = {
    "warc": warc_documents,  # WET and WAT too
    "arc": arc_documents,
    "html": html_documents,
    "text": text_documents,
    "json": row_documents,  # the content decides between these three
    "parquet": row_documents,
    "csv": row_documents,
    "pdf": pdf_documents,
    "docx": docx_documents,
    "xml": xml_documents,  # StackExchange: questions with their answers
    "posts": post_documents,  # StackExchange: each post by itself
    "code": code_documents,
    "archive": archive_documents,
}
_SUFFIXES = {
    "warc": "warc", "wet": "warc", "wat": "warc", "arc": "arc", "html": "html", "htm": "html", "xhtml": "html",
    "txt": "text", "text": "text", "md": "text", "tokens": "text", "jsonl": "json", "json": "json", "ndjson": "json",
    "parquet": "parquet", "csv": "csv", "tsv": "csv", "pdf": "pdf", "docx": "docx", "xml": "xml",
    "zip": "archive", "tar": "archive", "tgz": "archive", "tbz2": "archive", "txz": "archive",
}  # fmt: skip
_PACKED = ("gz", "zst", "zstd", "bz2", "xz", "lz4")
# Kinds of files that no reader reads, whatever their name is given as.
_NOT_READ = frozenset(
    "doc odt rtf pptx ppt odp xlsx xls ods epub mobi azw3 djvu ps 7z rar jar br lzma z ar"
    " png jpg jpeg gif webp tif tiff bmp svg mp3 mp4 wav ogg flac avi mov mkv webm exe dll so pkl npy npz"
    " pt safetensors sqlite db arrow avro orc feather h5".split()
)


class UnknownFile(ValueError):
    """No reader is known for a file, by its name."""


def kind_of(path: str) -> str:
    """The key of READERS for a file, by its name; a folder is a source tree. Raises UnknownFile if none matches."""
    name = path.rstrip("/").rpartition("/")[2]
    parts = name.lower().split(".")
    while len(parts) > 1 and parts[-1] in _PACKED:
        parts.pop()
    if len(parts) > 1 and parts[-1] in _SUFFIXES:
        return _SUFFIXES[parts[-1]]
    if os.path.isdir(path) or path.endswith("/"):
        return "code"
    leave = "leave it out by a narrower input, such as input='FOLDER/*.jsonl', or set unknown_files=skip"
    if len(parts) > 1 and parts[-1] in _NOT_READ:
        raise UnknownFile(f"{path}: files of type .{parts[-1]} are not read; convert it, {leave}")
    raise UnknownFile(
        f"{path}: unknown file type; set reader=NAME to read all files as one of {', '.join(READERS)}; or {leave}"
    )


def _known_in_archive(path: str) -> bool:
    """Whether a file in an archive can be read, by its name."""
    try:
        return kind_of(path) != "archive"
    except UnknownFile:
        return False


@dataclass(frozen=True)
class ReadOptions:
    """How files are read.

    text, id:  the fields of a row with its text and its id; default: as `row_documents`.
    pdf_blank: the share of pages without text above which a PDF is dropped.
    ocr:       what reads the pages of PDF that have no text.
    pdf_mib:   the size above which a PDF is dropped.
    """

    text: str | None = None
    id: str | None = None
    pdf_blank: float = 1.0
    ocr: Ocr | None = None
    pdf_mib: float = PDF_MEBIBYTES


def split_file(path: str, kind: str | None, size: int, part_bytes: int) -> list[Part | None]:
    """The parts of about `part_bytes` that processes read a large file in; [None] if it is small, or can only be read
    as a whole. Raises DiskError, UnknownFile."""
    kind = kind or kind_of(path)
    text = kind == "text"
    parts = parts_of(size, part_bytes, TEXT_BYTES if text else 1)
    splits = len(parts) > 1 and (can_split_text(path) if text else kind in ("json", "parquet") and can_split(path))
    return [*parts] if splits else [None]


def documents(
    path: str,
    ledger: Ledger,
    kind: str | None = None,
    options: ReadOptions = ReadOptions(),
    part: Part | None = None,
) -> Iterator[Document]:
    """The documents of one file or source tree, local or a URL that fsspec opens.

    kind: a key of READERS; None: by the name of the file.
    part: the part of it to read, from `split_file`; None: all of it.

    Raises ValueError for an unknown kind, DiskError if the file cannot be opened.
    """
    kind = kind or kind_of(path)
    if kind not in READERS:
        raise ValueError(f"there is no reader '{kind}' for {path}{suggest(kind, READERS)}")
    reader = READERS[kind]
    if reader is row_documents:
        reader = partial(row_documents, text=options.text, id=options.id, part=part)
    elif reader is text_documents:
        reader = partial(text_documents, part=part)
    elif reader is pdf_documents:
        reader = partial(pdf_documents, max_blank=options.pdf_blank, ocr=options.ocr, mebibytes=options.pdf_mib)
    elif reader is archive_documents:
        inner = partial(documents, options=options)
        reader = partial(archive_documents, read=inner, known=_known_in_archive)
    return map(_writable, reader(path, ledger))


def _writable(document: Document) -> Document:
    """The document, without lone surrogates in its id and `meta`, which no file can hold."""
    names = "".join((document.id, *document.meta, *document.meta.values()))
    try:
        names.encode()
        return document
    except UnicodeEncodeError:
        meta = {valid_utf8(name): valid_utf8(value) for name, value in document.meta.items()}
        return replace(document, id=valid_utf8(document.id), meta=meta)
