"""Streaming readers of JSON: lines; and values of any length over any lines, as the elements of a list. A broken row
loses only itself.

`lenient` readers accept rows in another encoding than UTF-8, NaN and lone surrogates, and remark on it. Others don't.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from tutelage.io.byte_reader import ByteReader
from tutelage.io.decode import decode, is_binary
from tutelage.io.decompress import CHUNK, Damage
from tutelage.io.row import BrokenRow, PlacedRow, not_an_object, repeated, too_large

FIRST_TRY = 1 << 16  # characters to parse a value from; doubled as long as the value does not end within them
MOST_RETRIES = 50  # of resuming inside an unterminated value
NOT_JSON, CUT_OFF = "not JSON", "truncated"
_SWALLOWED = 4  # times the longest value: an unterminated value of that length contains others
_DEEP = 900  # minimum number of characters before a value is nested too deep
_SPACE = re.compile(r"[\s\ufeff]*")
# An object may begin after a broken one at a comma or on a line of its own.
_NEXT = re.compile(r'(?:,\s*|\n[ \t]*)(\{\s*(?:"|\}))')
_OPENING = re.compile(r'\{\s*"[^"\\]{0,100}"\s*:')
_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)
_AFTER_ELEMENT = re.compile(r'\s*(?:,\s*[\[{"\w-]|\])')
_ESCAPED = re.compile("[\udc80-\udcff]")  # invalid UTF-8 bytes, as surrogateescape
_decoder = json.JSONDecoder()
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_TRUNCATED = "Input data was truncated"  # msgspec's words
_UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def json_lines(reader: ByteReader, max_row: int, lenient: bool, stop: int | None = None) -> Iterator[PlacedRow]:
    """One row per line; of those that begin before the byte `stop`, if it is given."""
    number, offset, going_on = 0, reader.position, True
    while going_on:
        for line in reader.lines(max_row):
            if stop is not None and offset >= stop:
                return
            number += 1
            value: Any = None
            remark = ""
            if len(line) >= max_row and not line.endswith(b"\n"):
                reader.skip_until(b"\n")
                yield PlacedRow("lines", number, offset, too_large(max_row))
                offset = reader.position
                continue
            try:
                value = _decode(line)
            except _UNDECODABLE as error:
                value, remark = _corrected(line, offset == 0, error, lenient)
                if not lenient and reader.damage and not line.endswith(b"\n"):
                    continue  # the line is cut by the damage
            else:
                value = not_an_object() if value is None else value
                # A field that is lost takes its quotes with it.
                if not lenient and type(value) is dict and line.count(b'"') != _encode(value).count(b'"'):
                    value = repeated_field(line) or value
            yield PlacedRow("lines", number, offset, value, remark)
            offset += len(line)
        if reader.damage:
            yield PlacedRow("lines", number, offset, reader.damage)
        going_on = reader.resume()


def repeated_field(written: str | bytes) -> BrokenRow | None:
    """Why a row is broken that holds this JSON, if an object in it has a field twice, with different values."""
    names: list[str] = []

    def check(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        read: dict[str, Any] = {}
        for name, inner in pairs:
            if name in read and read[name] != inner:
                names.append(name)
            read[name] = inner
        return read

    try:
        json.loads(written, object_pairs_hook=check)
    except (ValueError, RecursionError):  # not JSON, which others judge
        return None
    return repeated(names[0]) if names else None


def _corrected(line: bytes, first: bool, error: Exception, lenient: bool) -> tuple[Any, str]:
    """The row of a line that is not JSON, or the reason why it is broken, and a remark; None if the line is blank."""
    content = line.removeprefix(codecs.BOM_UTF8) if first else line
    if not content.strip():
        return None, ""
    if content is not line:
        try:
            return _decode(content), ""
        except _UNDECODABLE as again:
            error = again
    if not lenient:
        try:
            content.decode()
        except UnicodeDecodeError as place:
            error = place
        return _broken(error), ""
    if is_binary(content):
        return BrokenRow("not text"), ""
    try:
        return json.loads(decode(content)[0]), "invalid JSON, read leniently"  # lone surrogates, NaN
    except (ValueError, RecursionError):
        return BrokenRow(NOT_JSON), ""


def _broken(error: Exception) -> BrokenRow:
    if isinstance(error, UnicodeDecodeError):
        return BrokenRow("invalid UTF-8", f"byte {error.start}")
    if str(error) == _TRUNCATED:
        return BrokenRow(NOT_JSON, "the line ends before its object does; write each object in one line")
    return BrokenRow(NOT_JSON, "nested too deep" if isinstance(error, RecursionError) else str(error))


class _Text:
    """A byte stream as text, buffered on demand. A NUL stands for a corrupt place, which goes to `damages`."""

    def __init__(self, reader: ByteReader) -> None:
        self._reader, self._decoder = reader, codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self.held, self.at, self.ended = "", 0, False
        self.damages: list[Damage] = []

    def _piece(self) -> bytes:
        piece = self._reader.read(CHUNK)
        if piece or not self._reader.damage:
            return piece
        self.damages.append(self._reader.damage)
        self._reader.resume()
        return b"\0"  # otherwise two halves of different rows could form one row

    def more(self, characters: int) -> None:
        """Read until this many characters are buffered from `at` on, or the stream ends."""
        parts = [self.held[self.at :]]
        size = len(parts[0])
        while size < characters and not self.ended:
            piece = self._piece()
            self.ended = not piece
            parts.append(self._decoder.decode(piece, self.ended))
            size += len(parts[-1])
        self.held, self.at = "".join(parts), 0

    def skip_space(self) -> bool:
        """Advance to the next non-space character; False at the end."""
        while True:
            space = _SPACE.match(self.held, self.at)
            self.at = space.end() if space else self.at
            if self.at < len(self.held):
                return True
            if self.ended:
                return False
            self.more(FIRST_TRY)


def json_values(reader: ByteReader, max_row: int, lenient: bool) -> Iterator[PlacedRow]:
    """The elements of lists, and the values outside of lists, in order.

    A broken value whose brackets are balanced is skipped. After another one, the parser resumes at the next text that
    begins like earlier values, such as `{"id":`. Memory does not grow with the text; time is linear in its length.
    """
    text = _Text(reader)
    number = 0
    for value, remark in _values(text, max_row, lenient):
        if isinstance(value, BrokenRow | Damage):
            while text.damages:
                yield PlacedRow("values", number, 0, text.damages.pop(0))
        number += 1
        yield PlacedRow("values", number, 0, not_an_object() if value is None else value, remark)
    for damage in text.damages:
        yield PlacedRow("values", number, 0, damage)


def _values(text: _Text, max_row: int, lenient: bool) -> Iterator[tuple[Any, str]]:
    opening = ""  # of the last object
    in_list, retries, most = False, 0, 0
    while text.skip_space():
        sign = text.held[text.at]
        if sign == "[" and not in_list:
            in_list = True
            text.at += 1
        elif sign == "]" and in_list:
            in_list = False
            text.at += 1
        elif sign == ",":
            text.at += 1
        else:
            begin = _OPENING.match(text.held, text.at)
            value, remark, size, after = _value(text, max_row, lenient)
            if after:
                yield value, remark
                opening, most = begin[0] if begin else opening, max(most, size)
                continue
            unterminated = value.reason != NOT_JSON
            if value.reason == CUT_OFF and (not opening or size <= _SWALLOWED * most):
                yield Damage(CUT_OFF), ""  # the last value; nested objects may begin alike
                return
            yield value, remark
            retries += unterminated
            if retries > MOST_RETRIES:
                yield Damage("rest not read: too many unterminated values"), ""
                return
            if not _find_next(text, opening):
                return
    if in_list:
        yield Damage("unterminated JSON list"), ""


def _value(text: _Text, max_row: int, lenient: bool) -> tuple[Any, str, int, bool]:
    """The value that begins here, a remark, its length in characters (or the length inspected), and whether `text` is
    now after it; else it is at the place where the value is broken."""
    wanted = FIRST_TRY
    while True:
        if len(text.held) - text.at < wanted:
            text.more(wanted)
        begin = text.at
        try:
            value, end = _decoder.raw_decode(text.held, begin)
        except json.JSONDecodeError as error:
            # For an unterminated string the error points to its beginning; a truncated value fails near the end.
            unended = error.msg.startswith("Unterminated string") or error.pos >= len(text.held) - 10
            if not unended:
                end = _balanced_end(text.held, begin)
                text.at = end or max(error.pos, begin + 1)
                return BrokenRow(NOT_JSON, error.msg), "", text.at - begin, end > 0
        except RecursionError:
            text.at = min(begin + _DEEP, len(text.held))
            return BrokenRow(NOT_JSON, "nested too deep"), "", 0, False
        except ValueError:  # a number of thousands of digits
            text.at = begin + 1
            return BrokenRow(NOT_JSON, "number too long"), "", 0, False
        else:
            # A number may continue in text that is not yet buffered, as after "1" or "1e+".
            if end < len(text.held) - 3 or text.ended:
                text.at = end
                written = text.held[begin:end]
                if len(written) > max_row:
                    return too_large(max_row), "", len(written), True
                return *_checked(written, value, lenient), len(written), True
        if wanted > max_row or text.ended:
            text.at = begin + 1
            broken = BrokenRow(CUT_OFF) if text.ended else too_large(max_row)
            return broken, "", len(text.held) - begin, False
        wanted *= 2


def _checked(written: str, value: Any, lenient: bool) -> tuple[Any, str]:
    """The value, or the reason why it is broken, and a remark. Bytes that are not UTF-8 are decoded again."""
    escaped = not written.isascii() and _ESCAPED.search(written) is not None
    try:
        if not lenient:
            content = written.encode("utf-8", "surrogateescape")
            read = _decode(content.decode() if escaped else written)
            repeats = content.count(b'"') != _encode(read).count(b'"')
            return (repeats and repeated_field(content)) or read, ""
        if escaped:
            again, remark = decode(written.encode("utf-8", "surrogateescape"))
            return json.loads(again), remark or "JSON not in UTF-8"
        return value, ""
    except (ValueError, RecursionError) as error:  # msgspec.DecodeError is a ValueError
        return _broken(error), ""


def _balanced_end(text: str, begin: int) -> int:
    """The end of a broken object or list whose brackets are balanced, if it is short and another element or the end of
    the list follows; else 0."""
    closing: list[str] = []
    for token in _TOKEN.finditer(text, begin, begin + FIRST_TRY):
        sign = text[token.start()]
        if sign in "{[":
            closing.append("}" if sign == "{" else "]")
        elif sign in "}]":
            if not closing or closing.pop() != sign:
                return 0
            if not closing:
                return token.end() if _AFTER_ELEMENT.match(text, token.end()) else 0
        elif not closing:
            return 0
    return 0


def _find_next(text: _Text, opening: str) -> bool:
    """Advance to the possible beginning of the next object; False if there is none."""
    mark = re.compile(r"\s*".join(map(re.escape, re.findall(r'"[^"]*"|\S', opening)))) if opening else _NEXT
    while not (match := mark.search(text.held, text.at)):
        if text.ended:
            text.at = len(text.held)
            return False
        text.at = max(text.at, len(text.held) - 200)
        text.more(FIRST_TRY)
    text.at = match.start(1) if mark is _NEXT else match.start()
    return True
