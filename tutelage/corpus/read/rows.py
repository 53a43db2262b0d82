"""Readers of JSON rows, Parquet rows and plain text."""

from __future__ import annotations

import codecs
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from tutelage.corpus.read.decode import decode, is_binary, valid_utf8
from tutelage.corpus.read.json_values import json_values
from tutelage.corpus.read.packed import CHUNK
from tutelage.corpus.read.source import MAX_RECORD_BYTES, Source, go_on, open_bytes
from tutelage.corpus.read.unpack import BOMB, is_bomb, unpack
from tutelage.ledger import Ledger
from tutelage.records import Document

TEXT_FIELDS = ("text", "content", "raw_content", "body", "html")  # the first of these that a row has is its text
TEXT_BYTES = 1 << 20  # a long plain text is split into documents of about this size
_TABLES = ("meta", "metadata")  # nested objects whose fields are merged into the row
_GROUP_BYTES = 4 << 30  # limit of a decompressed Parquet row group; 128 MiB is usual
_BATCH_ROWS, _BATCH_BYTES = 256, 256 << 20  # of a Parquet file, read at once
_MAX_META = 4096  # characters
_MAX_FACT = 1 << 63  # larger numbers do not fit into a column; JSON has no infinity


def json_documents(path: str, ledger: Ledger) -> Iterator[Document]:
    """JSON objects: JSON lines, a list, or one object over several lines. The text is in one of TEXT_FIELDS; other
    strings go to `meta`, numbers to `facts`. Memory does not grow with the file."""
    with open_bytes(path) as file:
        source = Source(unpack(file))
        head = source.read(CHUNK)
        source.unread(head)
        yield from (_values if _is_no_lines(head) else _lines)(source, path, ledger)


def _is_no_lines(head: bytes) -> bool:
    """Whether a file with this beginning is a list, or an object over several lines, and not JSON lines."""
    head = head.removeprefix(codecs.BOM_UTF8).lstrip()
    line, _, rest = head.partition(b"\n")
    within = head[1:].lstrip()[:1]
    if head.startswith(b"["):
        return (within == b"{" or line.strip() == b"[") and not (rest.strip() and _is_json(line))
    return head.startswith(b"{") and rest.lstrip().startswith(b'"') and not _is_json(line)


def _is_json(content: bytes) -> bool:
    try:
        msgspec.json.decode(content)
        return True
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def _values(source: Source, path: str, ledger: Ledger) -> Iterator[Document]:
    def read() -> bytes:
        piece = source.read(CHUNK)
        if piece or not source.damage:
            return piece
        go_on(source, path, ledger)
        return b"\0"  # otherwise two halves of different rows could form one row

    for number, item in enumerate(json_values(read, MAX_RECORD_BYTES), 1):
        where = f"{path}#{number}"
        ledger.read()
        found: Document | str = item.broken
        if not found:
            found = row_document(item.value, where) if isinstance(item.value, dict) else "not a JSON object"
        if item.remark:
            ledger.note(item.remark, where=where)
        if isinstance(found, Document):
            ledger.keep()
            yield found
        else:
            ledger.drop(found, where=where)


def _lines(source: Source, path: str, ledger: Ledger) -> Iterator[Document]:
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
        elif not line and not go_on(source, path, ledger):
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
            row = json.loads(decode(line)[0])  # accepts lone surrogates and NaN
        except (ValueError, RecursionError):
            return "not JSON"
        ledger.note("invalid JSON, read leniently", where=where)
    return row_document(row, where) if isinstance(row, dict) else "not a JSON object"


def row_document(row: Mapping[str, Any], where: str) -> Document | str:
    """A row as a document, or the reason why it is not one."""
    name = next((name for name in TEXT_FIELDS if name in row), None)
    if name is None:
        return f"no field {' or '.join(TEXT_FIELDS)}"
    text = row[name]
    if not isinstance(text, str):
        return f"{name} is not a string"
    if not text.strip():
        return "empty"
    inner = [row[key] for key in _TABLES if isinstance(row.get(key), dict)]
    meta: dict[str, str] = {"content_type": "text/html"} if name == "html" else {}
    facts: dict[str, str | float] = {}
    for table in (*inner, row):
        for key, value in table.items():
            if isinstance(value, str) and key not in ("id", name) and 0 < len(value) <= _MAX_META:
                meta[key] = value
            elif _is_number(value) and key != "id" and abs(value) < _MAX_FACT:  # and not NaN
                facts[key] = value
    own = row.get("id")
    return Document(valid_utf8(text), str(own) if own not in (None, "") else where, meta, facts=facts)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def text_documents(path: str, ledger: Ledger) -> Iterator[Document]:
    """A plain text file, split into documents of about TEXT_BYTES at line ends where possible."""
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
            if size < TEXT_BYTES and not go_on(source, path, ledger):
                return


def _text(content: bytes, where: str, ledger: Ledger) -> Document | None:
    ledger.read()
    if is_binary(content):
        ledger.drop("not text", where=where)
        return None
    text, remark = decode(content)
    if remark:
        ledger.note(remark, where=where)
    ledger.keep()
    return Document(text, where, {"content_type": "text/plain"})


def _character_start(content: bytes) -> int:
    """The offset of the last character if it may be incomplete; else the length."""
    for back in range(1, min(4, len(content))):
        if content[-back] & 0b1100_0000 != 0b1000_0000:
            return len(content) - back if content[-back] >= 0b1100_0000 else len(content)
    return len(content)


def parquet_documents(path: str, ledger: Ledger) -> Iterator[Document]:
    """The rows of a Parquet file, as in `json_documents`. Unreadable row groups are counted."""
    import pyarrow  # type: ignore[import-untyped]
    from pyarrow import parquet

    with open_bytes(path) as file:
        try:
            size = file.seek(0, os.SEEK_END)
            schema = parquet.read_schema(file)
            is_text = (pyarrow.types.is_string, pyarrow.types.is_large_string)
            texts = [field.name for field in schema if any(check(field.type) for check in is_text)]
            table, peek = parquet.ParquetFile(file), parquet.ParquetFile(file, read_dictionary=texts)
            groups = table.metadata.num_row_groups
        except (pyarrow.ArrowException, OSError, ValueError):
            ledger.read()
            ledger.drop("not a Parquet file, or truncated", where=path)
            return
        number = made = 0
        for group in range(groups):
            about = table.metadata.row_group(group)
            left = about.num_rows
            try:
                if about.total_byte_size > _GROUP_BYTES:
                    raise ValueError("row group too large")
                at_once = _batch_rows(peek, group)
                for batch in table.iter_batches(batch_size=at_once, row_groups=[group]):
                    for row in batch.to_pylist():
                        left -= 1
                        for document in _parquet_row(row, f"{path}:{number}", ledger):
                            made += len(document.text)
                            yield document
                        number += 1
                        if is_bomb(made, size):
                            rest = max(1, table.metadata.num_rows - number)
                            ledger.read(rest)
                            ledger.drop(BOMB, rows=rest, where=f"{path}:{number}")
                            return
                if left > 0:
                    raise ValueError("fewer rows than declared")
            except (pyarrow.ArrowException, OSError, ValueError):
                left = max(1, min(left, size))  # the row count itself may be corrupt
                ledger.read(left)
                ledger.drop("unreadable row group", rows=left, where=f"{path}:{number}")
                number += left


def _batch_rows(table: Any, group: int) -> int:
    """How many rows of a row group may be read at once. A dictionary-encoded text is stored once but decoded for every
    row, so a small file could fill the memory. `table` reads such columns as dictionaries."""
    from pyarrow import compute

    longest = 1
    first = next(table.iter_batches(batch_size=1, row_groups=[group]), None)
    for column in first.columns if first is not None else ():
        if hasattr(column, "dictionary"):
            longest = max(longest, compute.max(compute.binary_length(column.dictionary)).as_py() or 0)
    return max(1, min(_BATCH_ROWS, _BATCH_BYTES // longest))


def _parquet_row(row: Mapping[str, Any], where: str, ledger: Ledger) -> Iterator[Document]:
    ledger.read()
    found = row_document(row, where)
    if isinstance(found, Document) and len(found.text) > MAX_RECORD_BYTES:
        found = f"larger than {MAX_RECORD_BYTES >> 20} MiB"
    if isinstance(found, Document):
        ledger.keep()
        yield found
    else:
        ledger.drop(found, where=where)
