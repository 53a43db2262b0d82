"""Rows of JSON lines and Parquet, and plain text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from tutelage.corpus.read.decode import decode, is_binary
from tutelage.corpus.read.source import MAX_RECORD_BYTES, Source, open_bytes, unpack
from tutelage.ledger import Ledger
from tutelage.records import Document

TEXT_FIELDS = ("text", "content", "raw_content", "body", "html")  # the first that a row has is its text
TEXT_BYTES = 1 << 20  # a long plain text is read in documents of about this size
_TABLES = ("meta", "metadata")  # tables of a row whose fields stand beside the others
_GROUP_BYTES = 4 << 30  # of a Parquet row group, unpacked; a writer's usual is an eighth of one GiB
_MAX_META = 4096  # characters


def json_documents(path: str, ledger: Ledger) -> Iterator[Document]:
    """A JSON object a line, with a text in one of TEXT_FIELDS; its other words go to `meta`, its numbers to `facts`."""
    with open_bytes(path) as file:
        source = Source(unpack(file))
        while True:
            offset = source.position
            line = source.until(b"\n", MAX_RECORD_BYTES)
            where = f"{path}:{offset}"
            if line.strip():
                ledger.read()
                found = _json_row(line, where, source, ledger)
                if isinstance(found, Document):
                    ledger.keep()
                    yield found
                else:
                    ledger.drop(found, where=where)
            elif not line and not _go_on(source, path, ledger):
                return


def _json_row(line: bytes, where: str, source: Source, ledger: Ledger) -> Document | str:
    if len(line) >= MAX_RECORD_BYTES and not line.endswith(b"\n"):
        source.skip_until(b"\n")
        return f"larger than {MAX_RECORD_BYTES >> 20} MiB"
    try:
        row = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        if is_binary(line):
            return "not text"
        try:
            row = json.loads(decode(line)[0])  # which takes half a character, and NaN
        except (ValueError, RecursionError):
            return "not JSON"
        ledger.note("row that is JSON only to a lenient reader", where=where)
    return row_document(row, where) if isinstance(row, dict) else "not a JSON object"


def row_document(row: Mapping[str, Any], where: str) -> Document | str:
    """A row as a document, or why it is none."""
    name = next((name for name in TEXT_FIELDS if name in row), None)
    if name is None:
        return f"no field {' or '.join(TEXT_FIELDS)}"
    text = row[name]
    if not isinstance(text, str):
        return f"{name} is not a text"
    if not text.strip():
        return "empty"
    inner = [row[key] for key in _TABLES if isinstance(row.get(key), dict)]
    meta: dict[str, str] = {"content_type": "text/html"} if name == "html" else {}
    facts: dict[str, str | float] = {}
    for table in (*inner, row):
        for key, value in table.items():
            if isinstance(value, str) and key not in ("id", name) and 0 < len(value) <= _MAX_META:
                meta[key] = value
            elif isinstance(value, int | float) and not isinstance(value, bool) and key != "id":
                facts[key] = value
    own = row.get("id")
    return Document(_sound(text), str(own) if own not in (None, "") else where, meta, facts=facts)


def _sound(text: str) -> str:
    """A text that can be written as UTF-8: a lone half of a character, which JSON can spell, becomes U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if not text.isascii() else text


def _go_on(source: Source, path: str, ledger: Ledger) -> bool:
    """Counts a damage and goes on behind it; False at the end of the file."""
    if source.damage:
        ledger.read()
        ledger.drop(source.damage.reason, where=f"{path}:{source.damage.at}")
    return source.resume()


def text_documents(path: str, ledger: Ledger) -> Iterator[Document]:
    """A plain text, in documents of about TEXT_BYTES that end with a line where there are lines."""
    with open_bytes(path) as file:
        source = Source(unpack(file))
        rest, offset = b"", 0
        while True:
            parts, size = [rest], len(rest)
            while size < TEXT_BYTES and (line := source.until(b"\n", TEXT_BYTES - size)):
                parts.append(line)
                size += len(line)
            content = b"".join(parts)
            rest = b""
            if size >= TEXT_BYTES and not content.endswith(b"\n"):
                cut = _character_start(content)
                content, rest = content[:cut], content[cut:]
            if content.strip():
                found = _text(content, f"{path}:{offset}", ledger)
                if found:
                    yield found
            offset += len(content)
            if size < TEXT_BYTES and not _go_on(source, path, ledger):
                return


def _text(content: bytes, where: str, ledger: Ledger) -> Document | None:
    ledger.read()
    if is_binary(content):
        ledger.drop("not text", where=where)
        return None
    text, exact = decode(content)
    if not exact:
        ledger.note("bytes in no known encoding, replaced", where=where)
    ledger.keep()
    return Document(text, where, {"content_type": "text/plain"})


def _character_start(content: bytes) -> int:
    """Where the last character begins, if it may have been cut; else the length."""
    for back in range(1, min(4, len(content))):
        if content[-back] & 0b1100_0000 != 0b1000_0000:
            return len(content) - back if content[-back] >= 0b1100_0000 else len(content)
    return len(content)


def parquet_documents(path: str, ledger: Ledger) -> Iterator[Document]:
    """The rows of a Parquet file, as `json_documents` reads them; a row group that cannot be read is counted."""
    import pyarrow  # type: ignore[import-untyped]
    from pyarrow import parquet

    with open_bytes(path) as file:
        try:
            table = parquet.ParquetFile(file)
            groups = table.metadata.num_row_groups
        except (pyarrow.ArrowException, OSError, ValueError):
            ledger.read()
            ledger.drop("not a Parquet file, or cut off", where=path)
            return
        number = 0
        for group in range(groups):
            about = table.metadata.row_group(group)
            left = about.num_rows
            try:
                if about.total_byte_size > _GROUP_BYTES:
                    raise ValueError("larger than memory should hold")
                for batch in table.iter_batches(batch_size=256, row_groups=[group]):
                    for row in batch.to_pylist():
                        left -= 1
                        yield from _parquet_row(row, f"{path}:{number}", ledger)
                        number += 1
            except (pyarrow.ArrowException, OSError, ValueError):
                ledger.read(left)
                ledger.drop("row group that cannot be read", rows=left, where=f"{path}:{number}")
                number += left


def _parquet_row(row: Mapping[str, Any], where: str, ledger: Ledger) -> Iterator[Document]:
    ledger.read()
    found = row_document(row, where)
    if isinstance(found, Document):
        ledger.keep()
        yield found
    else:
        ledger.drop(found, where=where)
