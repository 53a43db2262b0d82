"""The values of a JSON text that is no JSON lines: a list of any length, or values over several lines. They come one by
one, and a broken one costs only itself."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from tutelage.corpus.read.decode import decode

FIRST_TRY = 1 << 16  # characters to read a value from; where it does not end in them, twice as many
MOST_RETRIES = 50  # of reading a value from its inside, where it does not end
NOT_JSON, CUT_OFF = "not JSON", "cut off"
_SWALLOWED = 4  # times the longest value: what is as long and not closed has others inside it
_DEEP = 900  # characters at least that a value nested too deep has before it is
_SPACE = re.compile(r"[\s\ufeff]*")
# Where an object may begin behind a broken one: after a comma, or on a line of its own.
_NEXT = re.compile(r'(?:,\s*|\n[ \t]*)(\{\s*(?:"|\}))')
_OPENING = re.compile(r'\{\s*"[^"\\]{0,100}"\s*:')
_ESCAPED = re.compile("[\udc80-\udcff]")  # bytes that are no UTF-8
_decoder = json.JSONDecoder()


class Value(NamedTuple):
    """What stands at a place: a value, or why there is none (`broken`). `remark` is what `decode` says of its bytes."""

    value: Any
    broken: str = ""
    remark: str = ""


class _Text:
    """Bytes that come in pieces, as text of which so much is held as is asked for."""

    def __init__(self, read: Callable[[], bytes]) -> None:
        self._read, self._decoder = read, codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self.held, self.at, self.ended = "", 0, False

    def more(self, characters: int) -> None:
        """Reads on until so many characters are held from `at` on, or no more come."""
        parts = [self.held[self.at :]]
        size = len(parts[0])
        while size < characters and not self.ended:
            piece = self._read()
            self.ended = not piece
            parts.append(self._decoder.decode(piece, self.ended))
            size += len(parts[-1])
        self.held, self.at = "".join(parts), 0

    def skip_space(self) -> bool:
        """Goes to the next visible character; False at the end."""
        while True:
            found = _SPACE.match(self.held, self.at)
            self.at = found.end() if found else self.at
            if self.at < len(self.held):
                return True
            if self.ended:
                return False
            self.more(FIRST_TRY)


def json_values(read: Callable[[], bytes], longest: int) -> Iterator[Value]:
    """The elements of lists, and the values outside of any, in order.

    read:    gives some more bytes, b"" at the end.
    longest: characters of a value; a longer one is broken.

    Behind a broken value the next is looked for that begins as the values before it did: `{"id":`. Memory does not grow
    with the text, and time only with its length.
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
                return  # the last value; what is inside it may begin as it does
            retries += value.broken != NOT_JSON
            if retries > MOST_RETRIES:
                yield Value(None, "more behind values that do not end, not read")
                return
            if not _find_next(text, opening):
                return
    if in_list:
        yield Value(None, "list that is not closed: the file ends early")


def _value(text: _Text, longest: int) -> tuple[Value, int]:
    """The value that begins here, and its characters, or those that were looked at; `text` goes behind it, or to where
    it turned out to be broken."""
    wanted = FIRST_TRY
    while True:
        if len(text.held) - text.at < wanted:
            text.more(wanted)
        begin = text.at
        try:
            value, end = _decoder.raw_decode(text.held, begin)
        except json.JSONDecodeError as error:
            # Of a string that is not closed the error tells the beginning; what is cut off may be any sign of the end.
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
            # A number may go on in what is not yet read, from "1" or "1e+" too.
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
    """The value, read again where bytes of it are no UTF-8."""
    if written.isascii() or not _ESCAPED.search(written):
        return Value(value)
    again, remark = decode(written.encode("utf-8", "surrogateescape"))
    try:
        return Value(json.loads(again), remark=remark or "JSON in another encoding than UTF-8")
    except ValueError:
        return Value(None, NOT_JSON)


def _find_next(text: _Text, opening: str) -> bool:
    """Goes to where the next object may begin; False where none does."""
    mark = re.compile(r"\s*".join(map(re.escape, re.findall(r'"[^"]*"|\S', opening)))) if opening else _NEXT
    while not (found := mark.search(text.held, text.at)):
        if text.ended:
            text.at = len(text.held)
            return False
        text.at = max(text.at, len(text.held) - 200)
        text.more(FIRST_TRY)
    text.at = found.start(1) if mark is _NEXT else found.start()
    return True
