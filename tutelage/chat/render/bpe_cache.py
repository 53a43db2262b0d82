"""Byte-level BPE with a cache of pre-tokens: several times as fast as the library.

The library cuts a text into pre-tokens (words, numbers, spaces) with a Unicode pattern. Python's own patterns cut ASCII
the same way and much faster, and any other character is cut as an ASCII character of its class. Nearly all pre-tokens
of a text have been encoded before; only new ones go to the model.
"""

from __future__ import annotations

import json
import re
import unicodedata
from array import array
from itertools import accumulate

import tokenizers
from tokenizers import AddedToken

_MAX_PRETOKENS = 1 << 17
_MAX_PARTS, _SHORT = 1 << 10, 20  # parts between added tokens that are cached, and their most characters
# What the library's ByteLevel cuts with where it is given no pattern: GPT-2's.
_GPT_2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_ASCII_OF = {"L": "a-zA-Z", "Lu": "A-Z", "Ll": "a-z", "Lt": "", "Lm": "", "Lo": "", "M": "", "N": "0-9"}
# The letter for each byte in a byte-level vocabulary: itself where it is visible, else one beyond 255
# (Radford et al. 2019, the code that came with GPT-2).
_VISIBLE = (*range(33, 127), *range(161, 173), *range(174, 256))
_LETTERS = {byte: 256 + number for number, byte in enumerate(sorted({*range(256)} - {*_VISIBLE}))}
_CLASS = re.compile(r"\\p\{(\w+)\}|\\(.)|(\[\^?)|(\])", re.DOTALL)


class CachedBPE:
    """Encodes texts in which names of added tokens mean these."""

    def __init__(self, backend: tokenizers.Tokenizer, pattern: re.Pattern[str], distinguished: frozenset[str]) -> None:
        self._cut = pattern.findall
        added = {token.content: _as_bytes([number]) for number, token in backend.get_added_tokens_decoder().items()}
        names = sorted(added, key=len, reverse=True)
        self._split = re.compile("(" + "|".join(map(re.escape, names)) + ")" if names else r"(?!)()").split
        self._parts = {"": b"", **added}
        self._max_parts = len(added) + _MAX_PARTS
        self._pretoken_ids = _PretokenIds(backend)
        self._ascii_classes = _AsciiClassMap(distinguished)

    def encode(self, text: str) -> bytes | None:
        """The ids of a text, as the bytes of an int32 array; None where it holds a character whose class this does not
        know."""
        ids: list[bytes] = []
        for part in self._split(text):
            known = self._parts.get(part)
            if known is not None:
                ids.append(known)
                continue
            pretokens = self._cut(part) if part.isascii() else self._cut_any(part)
            if pretokens is None:
                return None
            encoded = b"".join(map(self._pretoken_ids.__getitem__, pretokens))
            ids.append(encoded)
            # What a template writes by itself recurs in every conversation.
            if len(part) <= _SHORT and len(self._parts) < self._max_parts:
                self._parts[part] = encoded
        return b"".join(ids)

    def _cut_any(self, part: str) -> list[str] | None:
        in_ascii = part.translate(self._ascii_classes)
        if not in_ascii.isascii():
            return None
        ends = list(accumulate(map(len, self._cut(in_ascii))))
        return [part[start:end] for start, end in zip([0, *ends], ends, strict=False)]


class _AsciiClassMap(dict[int, str]):
    """For each character outside ASCII an ASCII one that patterns treat the same; itself where there is none.

    distinguished: the Unicode classes that the pattern names, such as "Lu".
    """

    def __init__(self, distinguished: frozenset[str]) -> None:
        super().__init__({point: chr(point) for point in range(128)})
        self._distinguished = distinguished

    def __missing__(self, point: int) -> str:
        character, category = chr(point), unicodedata.category(chr(point))
        ascii_character = {"L": "Z", "N": "7", "Z": "\t", "C": "~", "P": "~", "S": "~", "M": "~"}[category[0]]
        if character == "\x85":  # a control character, and white space
            ascii_character = "\t"
        if category[0] == "L" and {"Lu", "Ll"} & self._distinguished:
            ascii_character = {"Lu": "Z", "Ll": "z"}.get(category, character)
        # What is not assigned yet may be by the library's tables; "ſ" is an "s" where case does not count.
        if category in ("Cn", "Cs") or character == "ſ" or (category[0] == "M" and "M" in self._distinguished):
            ascii_character = character
        self[point] = ascii_character
        return ascii_character


class _PretokenIds(dict[str, bytes]):
    """The ids of each pre-token met so far, as the bytes of an int32 array."""

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        super().__init__()
        self._model = backend.model

    def __missing__(self, pretoken: str) -> bytes:
        spelled = pretoken.encode().decode("latin-1").translate(_LETTERS)
        tokens = _as_bytes([token.id for token in self._model.tokenize(spelled)])
        if len(self) < _MAX_PRETOKENS:
            self[pretoken] = tokens
        return tokens


def _as_bytes(ids: list[int]) -> bytes:
    return array("i", ids).tobytes()


def cached_bpe(backend: tokenizers.Tokenizer) -> CachedBPE | None:
    """One that gives the same ids as `backend`, a byte-level BPE; None where its pre-tokenizer is not a known one."""
    described = json.loads(backend.to_str())
    unicode = _cutting_pattern(described["pre_tokenizer"] or {})
    pattern = _ascii_pattern(unicode)
    added: list[AddedToken] = list(backend.get_added_tokens_decoder().values())
    if pattern is None or described["model"].get("dropout") or len({token.normalized for token in added}) > 1:
        return None
    return CachedBPE(backend, pattern, frozenset(re.findall(r"\\p\{(\w+)\}", unicode or "")))


def _cutting_pattern(described: dict) -> str | None:
    if described.get("type") == "ByteLevel":
        return _GPT_2 if described["use_regex"] and not described["add_prefix_space"] else None
    steps = described.get("pretokenizers", [])
    if described.get("type") != "Sequence" or [step["type"] for step in steps] != ["Split", "ByteLevel"]:
        return None
    cut, spell = steps
    if cut["behavior"] != "Isolated" or cut["invert"] or spell["use_regex"] or spell["add_prefix_space"]:
        return None
    return cut["pattern"].get("Regex")


def _ascii_pattern(pattern: str | None) -> re.Pattern[str] | None:
    """The pattern that does to ASCII what a Unicode pattern does; None where it cannot be translated."""
    if pattern is None:
        return None
    inside = False
    known = True

    def translated(match: re.Match[str]) -> str:
        nonlocal inside, known
        name, escaped, opened, closed = match.groups()
        if opened or closed:
            known = known and inside != bool(opened)
            inside = bool(opened)
        elif name is not None:
            of_ascii = _ASCII_OF.get(name)
            known = known and of_ascii is not None and (inside or of_ascii != "")
            return f"{of_ascii}" if inside else f"[{of_ascii}]"
        else:
            known = known and (escaped in "srnSt" or not escaped.isalnum())
        return match[0]

    text = _CLASS.sub(translated, pattern)
    try:
        compiled = re.compile(text, re.ASCII)
    except re.error:
        return None
    return compiled if known and compiled.groups == 0 else None
