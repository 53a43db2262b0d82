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
_SURROGATES = re.compile("[\ud800-\udfff]")


def is_binary(content: bytes) -> bool:
    """Whether bytes are no text in any encoding but UTF-16 with its mark in front."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return False
    start = content[:_LOOKED_AT]
    return len(start) - len(start.translate(None, _CONTROLS)) > _BINARY_SHARE * len(start)


def decode(content: bytes, named: str | None = None) -> tuple[str, bool]:
    """The text, and whether it is exact: False where bytes that fit no encoding were replaced by U+FFFD.

    UTF-8 is tried first whatever is named: text in another encoding is hardly ever valid UTF-8 by accident, while pages
    that name a wrong one are common.
    """
    for mark, marked in _BOMS:
        if content.startswith(mark):
            return _replaced(content[len(mark) :], marked)
    try:
        return content.decode(), True
    except UnicodeDecodeError as error:
        # One bad byte in a long text that is UTF-8 otherwise: a cut or a slip, not another encoding.
        mostly = error.start > 1000 and not content[: error.start].isascii()
    if mostly:
        return content.decode(errors="replace"), False
    encodings = load("resiliparse.parse.encoding")
    guesses: tuple[str | None, ...] = (named, encodings.detect_encoding(content, from_html_meta=True))
    for encoding in guesses:
        try:
            if encoding:
                return _clean(content.decode(encodings.map_encoding_to_html5(encoding) or encoding)), True
        except (UnicodeError, LookupError):
            continue
    return _replaced(content, "utf-8")


def _clean(text: str) -> str:
    return _SURROGATES.sub("\ufffd", text)  # half a character can be decoded, but never written again


def _replaced(content: bytes, encoding: str) -> tuple[str, bool]:
    text = _clean(content.decode(encoding, errors="replace"))
    return text, "\ufffd" not in text
