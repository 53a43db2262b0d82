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
_KOREAN = b"\x1b$)C"  # announces ISO-2022-KR, which then shifts with two control characters
_JAPANESE = re.compile(rb"\x1b\$(?:[@B]|\([DOPQ])")
_JAPANESE_CODECS = ("iso2022_jp_ext", "iso2022_jp_3", "iso2022_jp_2004")
_META_BYTES = 4096  # where a page declares its encoding
_HZ_DECLARED = re.compile(rb"charset\s*=\s*[\"']?\s*hz(?:-gb-?2312)?\b", re.IGNORECASE)
_HZ_RUN = re.compile(rb"~\{((?:[\x21-\x77][\x21-\x7e])+)(?:~\}|\n|$)")
_HZ_COMMON = frozenset([0x21, 0x23, *range(0x30, 0x58)])  # rows of punctuation and of common characters
_HZ_PAIRS, _HZ_SHARE = 8, 0.8
_SURROGATES = re.compile("[\ud800-\udfff]")


REPLACED = "undecodable bytes replaced"
MIXED = "mixed encodings"


def is_binary(content: bytes) -> bool:
    """Whether bytes are not text. UTF-16 counts as text only with a byte order mark."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return False
    start = content[:_SAMPLE_BYTES]
    if _KOREAN in start:
        start = start.translate(None, b"\x0e\x0f")
    return len(start) - len(start.translate(None, _CONTROLS)) > _BINARY_SHARE * len(start)


def decode(content: bytes, named: str | None = None) -> tuple[str, str]:
    """The text, and a remark for the ledger: REPLACED if undecodable bytes became U+FFFD, MIXED if only some lines are
    UTF-8; else "".

    UTF-8 is tried before the declared encoding `named`: other encodings are hardly ever valid UTF-8 by accident, while
    wrong declarations are common. Encodings of seven bits are always valid UTF-8, so their marks are asked for first.
    """
    for mark, marked in _BOMS:
        if content.startswith(mark):
            return _replaced(content[len(mark) :], marked)
    if encoding := _seven_bit(content, named):
        return _replaced(content, encoding)
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


def _seven_bit(content: bytes, named: str | None) -> str:
    """The encoding of seven bits that the shift marks in the bytes belong to: ISO-2022-JP, ISO-2022-KR, or HZ where it
    is declared or plain from its marks; "" if there is none."""
    if b"\x1b$" not in content and b"~{" not in content:
        return ""
    if not content.isascii():
        return ""
    if _KOREAN in content:
        return "iso2022_kr"
    if _JAPANESE.search(content):
        return next((name for name in _JAPANESE_CODECS if _decodes(content, name)), _JAPANESE_CODECS[0])
    runs = _HZ_RUN.findall(content)
    if not runs:
        return ""
    declared = re.search(rb"hz(?:-gb-?2312)?$", (named or "").strip().lower().encode("ascii", "ignore"))
    pairs = sum(map(len, runs)) // 2
    common = sum(byte in _HZ_COMMON for run in runs for byte in run[::2])
    sure = pairs >= _HZ_PAIRS and common >= _HZ_SHARE * pairs and _decodes(content, "hz")
    return "hz" if declared or _HZ_DECLARED.search(content[:_META_BYTES]) or sure else ""


def _decodes(content: bytes, encoding: str) -> bool:
    try:
        content.decode(encoding)
        return True
    except UnicodeDecodeError:
        return False


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
