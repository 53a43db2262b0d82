"""Bytes to text: in the encoding they name, or in the one they look like."""

from __future__ import annotations

import codecs
import re

from tutelage.corpus.extras import load

_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
# Control characters that no text has. A page may hold a few by accident; in random bytes one of ten is such.
_CONTROLS = bytes(code for code in range(32) if code not in b"\t\n\v\f\r\x1b")
_BINARY_SHARE = 0.02
_LOOKED_AT = 1 << 16  # bytes, to tell the encoding from
_FEW = 0.1  # of lines in another encoding: as many may be valid UTF-8 by accident
_SLIP = 4  # characters that are right for one that is not
_SURROGATES = re.compile("[\ud800-\udfff]")


REPLACED = "bytes in no known encoding, replaced"
MIXED = "lines in different encodings"


def is_binary(content: bytes) -> bool:
    """Whether bytes are no text in any encoding but UTF-16 with its mark in front."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return False
    start = content[:_LOOKED_AT]
    return len(start) - len(start.translate(None, _CONTROLS)) > _BINARY_SHARE * len(start)


def decode(content: bytes, named: str | None = None) -> tuple[str, str]:
    """The text, and what a ledger is to note of it: REPLACED where bytes that fit no encoding became U+FFFD, MIXED
    where some lines are UTF-8 and others are not; else "".

    UTF-8 is tried first whatever is named: text in another encoding is hardly ever valid UTF-8 by accident, while pages
    that name a wrong one are common.
    """
    for mark, marked in _BOMS:
        if content.startswith(mark):
            return _replaced(content[len(mark) :], marked)
    try:
        return content.decode(), ""
    except UnicodeDecodeError as error:
        if error.end == len(content) and "end of data" in error.reason and not content[: error.start].isascii():
            return content.decode(errors="replace"), REPLACED  # cut within its last character
        lines = content.split(b"\n")
    texts = [line.decode(errors="replace") for line in lines]
    foreign = [place for place, text in enumerate(texts) if "\ufffd" in text and not _is_slip(text)]
    if sum(not text.isascii() for text in texts) - len(foreign) <= _FEW * len(foreign):
        return _foreign(content, named)
    if not foreign:
        return "\n".join(texts), REPLACED
    found = _foreign(b"\n".join(lines[place] for place in foreign), named)[0].split("\n")
    if len(found) != len(foreign):
        return "\n".join(texts), REPLACED
    for place, text in zip(foreign, found, strict=True):
        texts[place] = text
    return "\n".join(texts), MIXED


def _is_slip(text: str) -> bool:
    """Whether a line is UTF-8 but for a byte here and there, by its U+FFFD: a cut or a slip, not another encoding."""
    odd = text.count("\ufffd")
    return sum(not character.isascii() for character in text) - odd >= _SLIP * odd


def _foreign(content: bytes, named: str | None) -> tuple[str, str]:
    """Text that is not UTF-8."""
    encodings = load("resiliparse.parse.encoding")
    guesses: tuple[str | None, ...] = (named, encodings.detect_encoding(content, from_html_meta=True))
    for encoding in guesses:
        try:
            if encoding:
                return _clean(content.decode(encodings.map_encoding_to_html5(encoding) or encoding)), ""
        except (UnicodeError, LookupError):
            continue
    return _replaced(content, "utf-8")


def sound(text: str) -> str:
    """A text that can be written as UTF-8: halves of characters, which JSON and names of files can spell, are put
    together or become U+FFFD."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _clean(text: str) -> str:
    return _SURROGATES.sub("\ufffd", text)  # half a character can be decoded, but never written again


def _replaced(content: bytes, encoding: str) -> tuple[str, str]:
    text = _clean(content.decode(encoding, errors="replace"))
    return text, REPLACED if "\ufffd" in text else ""
