"""Streaming parser of JSON that is not JSON lines: a list of any length, or values over several lines. Values are
yielded one by one; a broken one loses only itself."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from tutelage.corpus.read.decode import decode

FIRST_TRY = 1 << 16  # characters to parse a value from; doubled as long as the value does not end within them
MOST_RETRIES = 50  # of resuming inside an unterminated value
NOT_JSON, CUT_OFF = "not JSON", "truncated"
_SWALLOWED = 4  # times the longest value: an unterminated value of that length contains others
_DEEP = 900  # minimum number of characters before a value is nested too deep
_SPACE = re.compile(r"[\s\ufeff]*")
# An object may begin after a broken one at a comma or on a line of its own.
_NEXT = re.compile(r'(?:,\s*|\n[ \t]*)(\{\s*(?:"|\}))')
_OPENING = re.compile(r'\{\s*"[^"\\]{0,100}"\s*:')
_ESCAPED = re.compile("[\udc80-\udcff]")  # invalid UTF-8 bytes, as surrogateescape
_decoder = json.JSONDecoder()


class Value(NamedTuple):
    """A value, or the reason why it is broken. `remark` is the remark of `decode` on its bytes."""

    value: Any
    broken: str = ""
    remark: str = ""


class _Text:
    """A byte stream as text, buffered on demand."""

    def __init__(self, read: Callable[[], bytes]) -> None:
        self._read, self._decoder = read, codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self.held, self.at, self.ended = "", 0, False

    def more(self, characters: int) -> None:
        """Read until this many characters are buffered from `at` on, or the stream ends."""
        parts = [self.held[self.at :]]
        size = len(parts[0])
        while size < characters and not self.ended:
            piece = self._read()
            self.ended = not piece
            parts.append(self._decoder.decode(piece, self.ended))
            size += len(parts[-1])
        self.held, self.at = "".join(parts), 0

    def skip_space(self) -> bool:
        """Advance to the next non-space character; False at the end."""
        while True:
            found = _SPACE.match(self.held, self.at)
            self.at = found.end() if found else self.at
            if self.at < len(self.held):
                return True
            if self.ended:
                return False
            self.more(FIRST_TRY)


def json_values(read: Callable[[], bytes], longest: int) -> Iterator[Value]:
    """The elements of lists, and the values outside of lists, in order.

    read:    returns more bytes, b"" at the end.
    longest: maximum characters of a value; a longer one is broken.

    After a broken value, the parser resumes at the next text that begins like earlier values, such as `{"id":`. Memory
    does not grow with the text; time is linear in its length.
    """
    text = _Text(read)
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
            value, size = _value(text, longest)
            yield value
            if not value.broken:
                opening, most = begin[0] if begin else opening, max(most, size)
                continue
            if value.broken == CUT_OFF and (not opening or size <= _SWALLOWED * most):
                return  # the last value; nested objects may begin alike
            retries += value.broken != NOT_JSON
            if retries > MOST_RETRIES:
                yield Value(None, "rest not read: too many unterminated values")
                return
            if not _find_next(text, opening):
                return
    if in_list:
        yield Value(None, "unterminated JSON list")


def _value(text: _Text, longest: int) -> tuple[Value, int]:
    """The value that begins here, and its length in characters (or the length inspected). Advances `text` past it, or
    to the place where it is broken."""
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
                text.at = max(error.pos, begin + 1)
                return Value(None, NOT_JSON), 0
        except RecursionError:
            text.at = min(begin + _DEEP, len(text.held))
            return Value(None, NOT_JSON), 0
        except ValueError:  # a number of thousands of digits
            text.at = begin + 1
            return Value(None, NOT_JSON), 0
        else:
            # A number may continue in text that is not yet buffered, as after "1" or "1e+".
            if end < len(text.held) - 3 or text.ended:
                text.at = end
                written = text.held[begin:end]
                return _sound(written, value) if len(written) <= longest else _too_large(longest), len(written)
        if wanted > longest or text.ended:
            text.at = begin + 1
            return Value(None, CUT_OFF) if text.ended else _too_large(longest), len(text.held) - begin
        wanted *= 2


def _too_large(longest: int) -> Value:
    return Value(None, f"larger than {longest >> 20} MiB")


def _sound(written: str, value: Any) -> Value:
    """The value, decoded again if some of its bytes are not UTF-8."""
    if written.isascii() or not _ESCAPED.search(written):
        return Value(value)
    again, remark = decode(written.encode("utf-8", "surrogateescape"))
    try:
        return Value(json.loads(again), remark=remark or "JSON not in UTF-8")
    except ValueError:
        return Value(None, NOT_JSON)


def _find_next(text: _Text, opening: str) -> bool:
    """Advance to the possible beginning of the next object; False if there is none."""
    mark = re.compile(r"\s*".join(map(re.escape, re.findall(r'"[^"]*"|\S', opening)))) if opening else _NEXT
    while not (found := mark.search(text.held, text.at)):
        if text.ended:
            text.at = len(text.held)
            return False
        text.at = max(text.at, len(text.held) - 200)
        text.more(FIRST_TRY)
    text.at = found.start(1) if mark is _NEXT else found.start()
    return True
