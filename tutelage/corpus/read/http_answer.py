"""HTTP responses in web archives: status, header and decoded body, also where declarations are false."""

from __future__ import annotations

import re
import zlib
from typing import Any, NamedTuple

from tutelage.extras import load
from tutelage.io.byte_reader import MAX_RECORD_BYTES
from tutelage.io.decompress import BOMB_RATIO, CHUNK
from tutelage.ledger import Ledger

MAX_HEADER_BYTES = 64 << 10
SMALL_PAGE = 1 << 20  # bytes: a decompressed page up to this size is never treated as a bomb
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[^\r\n]*chunked[^\r\n]*", re.IGNORECASE)
_CHUNK_SIZE = re.compile(rb"([0-9a-f]{1,7})[ \t]*(?:;[^\r\n]{0,200})?\r\n", re.IGNORECASE)
# Encodings to undo, from all declared ones to fewer, as declarations may be false; each with the step size of decoding,
# since the step in which the encoded data breaks off is lost.
_CODINGS = (("all", CHUNK), ("all", 64), ("content", CHUNK), ("transfer", CHUNK), ("none", CHUNK))
# Servers write "http/1.1  200 OK", "HTTP 200" or, for streams, "ICY 200 OK".
_STATUS = re.compile(rb"\s*(?:https?|icy)(?:/[\d.]*)?[ \t]+(\d{3})\b[ \t]*", re.IGNORECASE)
_PLAIN_STATUS = re.compile(rb"HTTP/\d(?:\.\d)? \d{3}(?![ \t]{2})[ \r\n]")
_SIGNALS = {"x_robots_tag": "X-Robots-Tag", "tdm_reservation": "TDM-Reservation", "tdm_policy": "TDM-Policy"}


class HttpAnswer(NamedTuple):
    """A response: its status, media type, charset, decoded body, and `signals`, the headers on its use by the name of
    their metadata."""

    status: int
    media: str
    charset: str | None
    body: bytes
    signals: dict[str, str]


def is_http(content: bytes) -> bool:
    """Whether content begins with an HTTP status line."""
    return content[:5].upper() == b"HTTP/" or bool(_STATUS.match(content))


def http_answer(content: bytes, where: str, ledger: Ledger) -> HttpAnswer | None:
    """A response, with what was wrong with its encodings noted in the ledger; None if its header is unreadable."""
    warc = load("fastwarc.warc")
    if not _PLAIN_STATUS.match(content):
        content = _STATUS.sub(rb"HTTP/1.1 \1 ", content, count=1)
    whole_chunks = _without_chunks(content)
    if whole_chunks is not None:
        ledger.note("truncated transfer or content encoding", where=where)
        content = whole_chunks
    most = min(MAX_RECORD_BYTES, max(SMALL_PAGE, BOMB_RATIO * len(content)))
    for coding, step in _CODINGS:
        record = warc.WarcRecord()
        record.init_headers(warc.response)
        record.set_bytes_content(content)
        record.is_http = True
        try:
            record.parse_http(auto_decode=coding, max_header_len=MAX_HEADER_BYTES, quirks_mode=True)
        except OSError:
            continue
        body, whole = _body(record.reader, step, most)
        if not whole and (step == CHUNK or not body):
            continue
        headers = record.http_headers
        inflated = None
        if coding == "transfer" and (headers.get("Content-Encoding") or "").strip().lower() == "deflate":
            inflated = _inflated(body, most)
        if inflated is not None:
            body = inflated
        elif not whole:
            ledger.note("truncated transfer or content encoding", where=where)
        elif coding != "all":
            ledger.note("wrong transfer or content encoding header", where=where)
        if headers.status_code is None:
            return None
        signals = {name: ", ".join(headers.get_multiple(header)) for name, header in _SIGNALS.items()}
        return HttpAnswer(
            headers.status_code,
            headers.get("Content-Type") or "",
            record.http_charset,
            body,
            {name: value for name, value in signals.items() if value},
        )
    return None


def _inflated(body: bytes, most: int) -> bytes | None:
    """A body of deflate data without the zlib header, which some servers leave out (RFC 9110, section 8.4.1.2); at most
    one byte more than `most`. None if it is not that."""
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(body, most + 1) or None
    except zlib.error:
        return None


def _body(reader: Any, step: int, most: int) -> tuple[bytes, bool]:
    """The decoded body, and whether it is complete. Reads at most one byte more than `most`."""
    parts: list[bytes] = []
    size = 0
    try:
        while size <= most and (piece := reader.read(min(step, most + 1 - size))):
            parts.append(piece)
            size += len(piece)
    except OSError:
        return b"".join(parts), False
    return b"".join(parts), True


def _without_chunks(answer: bytes) -> bytes | None:
    """A response with chunked transfer encoding whose last chunks are missing or invalid, without the chunk framing.
    None for any other response, and if not even the first chunk is valid."""
    head, gap, body = answer.partition(b"\r\n\r\n")
    if not _CHUNKED.search(head):
        return None
    parts: list[bytes] = []
    at = 0
    while size := _CHUNK_SIZE.match(body, at):
        length = int(size[1], 16)
        if not length:
            return None  # complete: left to the general decoder
        parts.append(body[size.end() : size.end() + length])
        at = size.end() + length + 2
        if body[at - 2 : at] != b"\r\n":
            break
    return _CHUNKED.sub(b"", head) + gap + b"".join(parts) if parts else None
