"""Web archives, WARC (also WET) and ARC, record by record: a bad record is counted, and reading resumes at the next."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from tutelage.corpus.page_text import HTML_TYPES, begins_as_html
from tutelage.corpus.read.http_answer import MAX_HEADER_BYTES, SMALL_PAGE, http_answer, is_http
from tutelage.io.byte_reader import MAX_RECORD_BYTES, ByteReader, go_on, note_lost, read_bytes
from tutelage.io.decode import decode, is_binary
from tutelage.io.decompress import BOMB, BOMB_RATIO, CHUNK
from tutelage.ledger import Ledger
from tutelage.records import Document

# If many lengths in a row are wrong, searching all claimed bytes for the next record would take quadratic time.
_MAX_PUT_BACK = 1 << 30
_LONGEST_MARK = 4096  # bytes of the first line of an ARC record
_NEXT_WARC = re.compile(rb"(?:\r?\n)+(?=WARC/[01]\.\d)")
# URL, IP address, time, type, in version 2 five more fields, length. URLs of careless crawlers contain spaces.
_ARC_HEADER = re.compile(
    rb"^([a-z][a-z+.-]*:.*) (\S+) (\d{12,20}) (\S+)(?: \d{3} \S+ \S+ \d+ \S+)? (\S+)\r?\n?$", re.IGNORECASE
)
_NEXT_ARC = re.compile(
    rb"\r?\n(?=[a-z][a-z+.-]{1,10}:\S.* \S+ \d{12,20} \S+(?: \d{3} \S+ \S+ \d+ \S+)? \d+\r?\n)", re.IGNORECASE
)
_WITH_PAGES = ("response", "resource", "conversion")
_OTHERS = ("warcinfo", "request", "metadata", "revisit", "continuation")
_PAGES = ("text/html", "application/xhtml+xml", "text/plain", "application/xml", "text/xml")


class Record(NamedTuple):
    """A raw record: its header fields, names in lower case, and its content."""

    offset: int
    fields: Mapping[str, str]
    content: bytes


def warc_documents(path: str, ledger: Ledger) -> Iterator[Document]:
    """The raw pages of a WARC or WET file. HTML stays in `text`; a later step extracts it."""
    yield from _documents(path, ledger, warc_records)


def arc_documents(path: str, ledger: Ledger) -> Iterator[Document]:
    """The raw pages of an ARC file, as `warc_documents`."""
    yield from _documents(path, ledger, arc_records)


def _documents(
    path: str, ledger: Ledger, records: Callable[[ByteReader, str, Ledger], Iterator[Record]]
) -> Iterator[Document]:
    with read_bytes(path) as reader:
        for record in records(reader, path, ledger):
            where = f"{path}:{record.offset}"
            kind = record.fields.get("warc-type", "")
            if kind not in _WITH_PAGES:  # requests and the like hold no page
                ledger.note(f"{kind} record" if kind in _OTHERS else "record of unknown type", where=where)
                continue
            ledger.read()
            found = _page(record, where, ledger)
            if isinstance(found, Document):
                ledger.keep()
                yield found
            else:
                ledger.drop(found, where=where)


def warc_records(reader: ByteReader, path: str, ledger: Ledger) -> Iterator[Record]:
    """Every complete record. The ledger counts truncated and corrupt ones, and data outside of records."""
    while (line := _next_line(reader, path, ledger)) is not None:
        offset = reader.position - len(line)
        if not line.startswith(b"WARC/"):
            _bad(ledger, "data outside of records", path, offset)
            if reader.skip_until(b"\nWARC/"):
                reader.unread(b"WARC/")
            continue
        fields = _fields(reader)
        length = fields.get("content-length", "")
        if not length.isdecimal():
            _bad(ledger, "record without a length", path, offset)
            continue
        content = _content(reader, int(length), path, offset, ledger, _NEXT_WARC)
        if content is not None:
            yield Record(offset, fields, content)


def arc_records(reader: ByteReader, path: str, ledger: Ledger) -> Iterator[Record]:
    """Every complete record, with header fields named as in WARC."""
    lost = False
    while (line := _next_line(reader, path, ledger)) is not None:
        offset = reader.position - len(line)
        header = _ARC_HEADER.match(line)
        if not header:
            if not lost:
                _bad(ledger, "data outside of records", path, offset)
            lost = True
            continue
        lost = False
        url, _, date, kind, length = (part.decode("utf-8", "replace") for part in header.groups())
        if not length.isdecimal():
            _bad(ledger, "record without a length", path, offset)
            lost = True  # do not count its content as a second error
            continue
        content = _content(reader, int(length), path, offset, ledger, _NEXT_ARC)
        if content is not None:
            about = "warcinfo" if url.startswith("filedesc:") else "response"
            when = f"{date[:4]}-{date[4:6]}-{date[6:8]}T{date[8:10]}:{date[10:12]}:{date[12:14] or '00'}Z"
            fields = {"warc-type": about, "warc-target-uri": url, "warc-date": when, "content-type": kind}
            yield Record(offset, fields, content)


def _bad(ledger: Ledger, reason: str, path: str, offset: int) -> None:
    ledger.read()
    ledger.drop(reason, where=f"{path}:{offset}")


def _next_line(reader: ByteReader, path: str, ledger: Ledger) -> bytes | None:
    """The next non-empty line, across corrupt places, which are counted; None at the end."""
    while True:
        line = reader.until(b"\n", MAX_HEADER_BYTES)
        if line.strip():
            return line
        if line:
            continue
        if not go_on(reader, path, ledger):
            return None


def _fields(reader: ByteReader) -> dict[str, str]:
    fields: dict[str, str] = {}
    size, name = 0, ""
    while (line := reader.until(b"\n", MAX_HEADER_BYTES)).strip() and size < MAX_HEADER_BYTES:
        size += len(line)
        text = line.decode("utf-8", "replace").rstrip()
        if text[:1].isspace() and name:  # a continuation line
            fields[name] += " " + text.strip()
        elif ":" in text:
            name, _, value = text.partition(":")
            name = name.strip().lower()
            fields[name] = value.strip()
    return fields


def _content(
    reader: ByteReader, length: int, path: str, offset: int, ledger: Ledger, following: re.Pattern[bytes]
) -> bytes | None:
    """The content of a record; None, and counted, if it is incomplete or too large."""
    if length > MAX_RECORD_BYTES:
        _bad(ledger, _skipped(reader, length, path, ledger, following), path, offset)
        return None
    content = reader.read(length)
    if len(content) == length:
        after = reader.until(b"\n", MAX_HEADER_BYTES)
        reader.unread(after)
        if not after.strip() or following.match(b"\n" + after):
            return content
        # The length is wrong. If it reaches into later records, these are still read.
        next_one = following.search(content + after[:100])
        if not next_one:
            return content
    else:
        next_one = following.search(content)
    inside = next_one is not None and next_one.end() <= len(content)
    if next_one and inside and reader.put_back < _MAX_PUT_BACK:
        reader.unread(content[next_one.end() :])
    _bad(ledger, "record with a wrong length" if inside else _cut(reader, path, ledger), path, offset)
    return None


def _skipped(reader: ByteReader, length: int, path: str, ledger: Ledger, following: re.Pattern[bytes]) -> str:
    """Skip a content that is too large, or stop at the next record if one begins inside: then the length is wrong."""
    held = b""
    while length and (piece := reader.read(min(length, CHUNK))):
        length -= len(piece)
        held = held[-_LONGEST_MARK:] + piece
        if next_one := following.search(held):
            reader.unread(held[next_one.end() :])
            return "record with a wrong length"
    return _cut(reader, path, ledger) if length else f"larger than {MAX_RECORD_BYTES >> 20} MiB"


def _cut(reader: ByteReader, path: str, ledger: Ledger) -> str:
    """The reason why a record is incomplete. A corrupt place inside a record is counted once, with that record."""
    if reader.damage:
        reason = reader.damage.reason
        note_lost(reader.damage, path, ledger)
        reader.resume()
        return f"truncated record: {reason}"
    return "truncated record: unexpected end of file"


def _page(record: Record, where: str, ledger: Ledger) -> Document | str:
    """The page of a record, or the reason why there is none."""
    kind = record.fields.get("warc-type", "")
    content = record.content
    media, charset = record.fields.get("content-type", ""), None
    signals: dict[str, str] = {}
    if kind == "response" and is_http(content):
        answer = http_answer(content, where, ledger)
        if answer is None:
            return "unreadable HTTP header"
        if not 200 <= answer.status < 300:
            return f"HTTP status {answer.status // 100}xx"
        charset, content, media, signals = answer.charset, answer.body, answer.media, answer.signals
    if len(content) > MAX_RECORD_BYTES:
        return f"larger than {MAX_RECORD_BYTES >> 20} MiB"
    if len(content) > max(SMALL_PAGE, BOMB_RATIO * len(record.content)):
        return BOMB
    if not content.strip():
        return "empty"
    media = (media or record.fields.get("warc-identified-payload-type", "")).split(";")[0].strip().lower()
    if media not in _PAGES:
        if media and media not in ("application/octet-stream", "no-type", "unk"):
            return "not a page: " + media.split("/")[0]
        media = "text/html" if content.lstrip()[:1] == b"<" else "text/plain"
    if is_binary(content):
        return "not text"
    if "warc-truncated" in record.fields:
        ledger.note("page truncated by the crawler", where=where)
    text, remark = decode(content, charset)
    if remark:
        ledger.note(remark, where=where)
    if media not in HTML_TYPES and begins_as_html(text):
        media = "text/html"
    meta = {
        "url": record.fields.get("warc-target-uri", "").strip("<>"),
        "date": record.fields.get("warc-date", ""),
        "record_id": record.fields.get("warc-record-id", "").strip("<>"),
        "content_type": media,
        **signals,
    }
    return Document(text, where, {name: value for name, value in meta.items() if value})
