"""Readers of rows (JSON, Parquet, CSV) and of plain text."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tutelage.corpus.page_text import begins_as_html
from tutelage.files import to_json
from tutelage.io.byte_reader import MAX_RECORD_BYTES, ByteReader, go_on, note_lost, read_bytes
from tutelage.io.decode import decode, is_binary, valid_utf8
from tutelage.io.decompress import Damage
from tutelage.io.parts import Part, read_from, uncompressed_head
from tutelage.io.row import BrokenRow, PlacedRow
from tutelage.io.rows import scan_part, scan_rows
from tutelage.ledger import Ledger
from tutelage.records import Document

TEXT_FIELDS = ("text", "content", "raw_content", "body", "html")  # the first of these that a row has is its text
TEXT_BYTES = 1 << 20  # a long plain text is split into documents of about this size
_CONTINUATION = bytes(range(0x80, 0xC0))  # bytes of a UTF-8 character after its first
_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_TABLES = ("meta", "metadata")  # nested objects whose fields are merged into the row
_MAX_REASONS = 20  # different sets of fields that reasons name, per file
_SHOWN_FIELDS, _SHOWN_NAME = 8, 40
_THERE = "; the row has "
_MAX_FACT = 1 << 63  # larger numbers do not fit into a column; JSON has no infinity


def row_documents(
    path: str, ledger: Ledger, text: str | None = None, id: str | None = None, part: Part | None = None
) -> Iterator[Document]:
    """The rows of a file that `scan_rows` reads. Numbers and truth values go to `facts`; other strings, and lists and
    objects as JSON, to `meta`. Memory does not grow with the file.

    text: the field of the text; default: the first of TEXT_FIELDS that a row has.
    id:   the field of the id; default: "id", else the place of the row.
    part: the part of a file that can be split (`io.rows.can_split`); default: all of it.
    """
    names = TEXT_FIELDS if text is None else (text,)
    reasons: set[str] = set()
    for row in (
        scan_rows(path, lambda row: any(name in row for name in names), lenient=True, max_row=MAX_RECORD_BYTES)
        if part is None
        else scan_part(path, part, MAX_RECORD_BYTES)
    ):
        if row.value is None:
            continue
        if isinstance(row.value, Damage):
            _count_damage(row, row.value, path, ledger)
            continue
        ledger.read()
        where = _place(row, path)
        found = _document(row.value, where, names, id or "id")
        if row.remark:
            ledger.note(row.remark, where=where)
        if isinstance(found, Document):
            ledger.keep()
            yield found
            if type(row.value) is dict and any(isinstance(value, bytes) for value in row.value.values()):
                for name in _binary_fields(row.value):
                    ledger.note(f"binary field left out: {name}", where=where)
        else:
            ledger.drop(_bounded(found, reasons), where=where)


def _bounded(reason: str, reasons: set[str]) -> str:
    """The reason, without the fields of the row once many different rows have none of the text fields."""
    short, there, _ = reason.partition(_THERE)
    if not there or reason in reasons:
        return reason
    if len(reasons) >= _MAX_REASONS:
        return short
    reasons.add(reason)
    return reason


def _binary_fields(row: Mapping[str, Any]) -> list[str]:
    return [name for name, value in row.items() if isinstance(value, bytes)]


def _place(row: PlacedRow, path: str) -> str:
    """The place of a row, which is the id of its document if it has no other."""
    if row.layout == "lines":
        return f"{path}:{row.offset}"
    return f"{path}:{row.number - 1}" if row.layout == "parquet" else f"{path}#{row.number}"


def _count_damage(row: PlacedRow, damage: Damage, path: str, ledger: Ledger) -> None:
    if row.layout == "parquet":
        lost = max(1, damage.lost)
        ledger.read(lost)
        ledger.drop(damage.reason, rows=lost, where=_place(row, path))
    else:
        ledger.read()
        ledger.drop(damage.reason, where=note_lost(damage, path, ledger))


def _document(value: Any, where: str, names: Sequence[str], id_name: str) -> Document | str:
    if isinstance(value, BrokenRow):
        return value.reason
    found = row_document(value, where, names, id_name) if isinstance(value, dict) else "not a JSON object"
    if isinstance(found, Document) and len(found.text) > MAX_RECORD_BYTES:
        return f"larger than {MAX_RECORD_BYTES >> 20} MiB"
    return found


def row_document(
    row: Mapping[str, Any], where: str, names: Sequence[str] = TEXT_FIELDS, id_name: str = "id"
) -> Document | str:
    """A row as a document, or the reason why it is not one. The text is in the first of the fields `names` that it has,
    the id in `id_name`."""
    name = next((name for name in names if name in row), None)
    if name is None:
        there = ", ".join(str(field)[:_SHOWN_NAME] for field in list(row)[:_SHOWN_FIELDS])
        return f"no field {' or '.join(names)}{_THERE}{there or 'none'}"
    text = row[name]
    if not isinstance(text, str):
        return f"{name} is not a string"
    if not text.strip():
        return "empty"
    inner = [row[key] for key in _TABLES if isinstance(row.get(key), dict)]
    meta: dict[str, str] = {"content_type": "text/html"} if name == "html" else {}
    facts: dict[str, str | bool | int | float] = {}
    for table in (*inner, row):
        for key, value in table.items():
            if key in (id_name, name) or value is None or value == "" or isinstance(value, bytes):
                continue
            if table is row and key in _TABLES and isinstance(value, dict):
                continue
            if isinstance(value, str):
                meta[key] = value
            elif isinstance(value, int | float) and abs(value) < _MAX_FACT:  # and not NaN
                facts[key] = value
            else:
                meta[key] = _as_json(value)
    if "content_type" not in meta and not ("path" in meta and "language" in meta) and begins_as_html(text):
        meta["content_type"] = "text/html"  # but not a file of source code
    own = row.get(id_name)
    return Document(valid_utf8(text), str(own) if own not in (None, "") else where, meta, facts=facts)


def _as_json(value: Any) -> str:
    if isinstance(value, list | dict):
        return to_json(value, indent=None, sort=False).decode()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)  # a date; a number that JSON has not


def text_documents(path: str, ledger: Ledger, part: Part | None = None) -> Iterator[Document]:
    """A plain text file, split at the first line end after every TEXT_BYTES; in a longer line, there. `part`: only the
    documents that begin in a part of it (`can_split_text`)."""
    with read_bytes(path) if part is None else read_from(path, max(part.start - TEXT_BYTES - 1, 0)) as reader:
        at_line = _go_to_document(reader, part.start) if part is not None and part.start else True
        wide = False
        while part is None or reader.position < part.stop:
            offset = reader.position
            content = reader.read(TEXT_BYTES - offset % TEXT_BYTES)
            wide = wide or (not offset and content.startswith(_WIDE))
            if not wide and not content.endswith(b"\n"):
                content += _to_boundary(reader, at_line or b"\n" in content)
            at_line = content.endswith(b"\n")
            if content.strip():
                found = _text(content, f"{path}:{offset}", ledger)
                if found:
                    yield found
            if not content and not go_on(reader, path, ledger):
                return


def can_split_text(path: str) -> bool:
    """Whether parts of a plain text file can be read by themselves: it is not compressed, and not in UTF-16."""
    head = uncompressed_head(path, 16)
    return bool(head) and not head.startswith(_WIDE)


def _go_to_document(reader: ByteReader, start: int) -> bool:
    """Advance to the first document that begins from the byte `start` on, a multiple of TEXT_BYTES. Returns whether it
    begins with a line."""
    from_begin = not reader.position
    before = reader.read(start - reader.position)
    return before.endswith(b"\n") or _to_boundary(reader, from_begin or b"\n" in before).endswith(b"\n")


def _to_boundary(reader: ByteReader, to_line: bool) -> bytes:
    """The bytes from a multiple of TEXT_BYTES up to the next document: to the end of the line, unless that is far off;
    and of the UTF-8 character."""
    content = reader.until(b"\n", TEXT_BYTES) if to_line else b""
    if content.endswith(b"\n"):
        return content
    following = reader.read(3)
    rest = following[: len(following) - len(following.lstrip(_CONTINUATION))]
    reader.unread(following[len(rest) :])
    return content + rest


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
