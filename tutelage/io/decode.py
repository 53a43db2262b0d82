"""Bytes to text: by the declared encoding, or by a detected one."""

from __future__ import annotations

import codecs
import re

from tutelage.extras import load

_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
# Control characters that text does not use. A page may hold a few by accident; in random bytes, one in ten is one.
_CONTROLS = bytes(code for code in range(32) if code not in b"\t\n\v\f\r\x1b")
_BINARY_SHARE = 0.02
_SAMPLE_BYTES = 1 << 16  # for detecting binary data
_FEW = 0.1  # of lines in another encoding, this fraction may be valid UTF-8 by accident
_SLIP = 4  # valid characters per invalid one, for a line to count as UTF-8 with slips
_SURROGATES = re.compile("[\ud800-\udfff]")


REPLACED = "undecodable bytes replaced"
MIXED = "mixed encodings"


def is_binary(content: bytes) -> bool:
    """Whether bytes are not text. UTF-16 counts as text only with a byte order mark."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return False
    start = content[:_SAMPLE_BYTES]
    return len(start) - len(start.translate(None, _CONTROLS)) > _BINARY_SHARE * len(start)


def decode(content: bytes, named: str | None = None) -> tuple[str, str]:
    """The text, and a remark for the ledger: REPLACED if undecodable bytes became U+FFFD, MIXED if only some lines are
    UTF-8; else "".

    UTF-8 is tried before the declared encoding `named`: other encodings are hardly ever valid UTF-8 by accident, while
    wrong declarations are common.
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
    """Whether a line is UTF-8 with a few invalid bytes (a cut or a slip), by its count of U+FFFD."""
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


def valid_utf8(text: str) -> str:
    """A text that can be encoded as UTF-8: surrogate pairs, which JSON and file names can contain, are joined; lone
    surrogates become U+FFFD."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _clean(text: str) -> str:
    return _SURROGATES.sub("\ufffd", text)  # lone surrogates can be decoded but not encoded


def _replaced(content: bytes, encoding: str) -> tuple[str, str]:
    text = _clean(content.decode(encoding, errors="replace"))
    return text, REPLACED if "\ufffd" in text else ""
