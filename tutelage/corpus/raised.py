"""Raised and lowered characters in plain text: ten to the sixth is "10^6", not "106"."""

from __future__ import annotations

import re

_NUMBER = r"[+\-−–±]?\d+(?:[.,]\d+)?[+\-−]?|[+\-−]"
_EXPRESSION = re.compile(r"[\w.,+\-−–±*/·=() ]{1,20}")
_POWER = re.compile(rf"(?:{_NUMBER})|[b-cf-np-qt-z]|[A-Z]|[α-ωΑ-Ω]")  # one letter, but for ordinals as 3^e and 1^a
_INDEX = re.compile(r"\d+|[a-zA-Zα-ωΑ-Ω]{1,3}")
_OPERATOR = re.compile(r"[\d\w][+\-−*/·=]\s*[\d\w]|[+\-−]\s*\w|\d[a-z]\b")
_GREEK = re.compile("[α-ωΑ-Ω]")
_WORD = re.compile(r"[^\W\d_]+$")
_MAX_UNIT = 3  # letters of a unit or a variable; a number after a longer word is a footnote
_FORMULA = re.compile(r"(?:[A-Z][a-z]?\d*|[\])])$")  # H2O, Ca(OH)2


def raised(before: str, text: str, after: str = "") -> str:
    """How a superscript is written after the text `before` and ahead of `after`: with "^" where it changes the meaning
    of what it follows (a power, an index, a charge), with a space in a mixed number; unchanged elsewhere (ordinals,
    trademarks, footnotes)."""
    text = " ".join(text.split())
    last = before[-1:]
    if not text or not (last.isalnum() or last in (")", "]", "}", "|")):
        return text
    if text.isdigit() and last.isdigit() and after[:1] in ("/", "⁄"):
        return f" {text}"
    word = _WORD.search(before)
    if word and len(word[0]) > _MAX_UNIT:
        return text
    if _POWER.fullmatch(text):
        return f"^{text}"
    if _EXPRESSION.fullmatch(text) and (_OPERATOR.search(text) or _GREEK.search(text)):
        return f"^({text})"
    return text


def lowered(before: str, text: str) -> str:
    """How a subscript is written after the text `before`: with "_" after a variable, a function or a number; unchanged
    in a chemical formula, after longer words and white space."""
    text = " ".join(text.split())
    last = before[-1:]
    if not text or not (last.isalnum() or last in (")", "]", "}", "|")):
        return text
    word = _WORD.search(before)
    if word and len(word[0]) > _MAX_UNIT:
        return text
    if text.isdigit() and _FORMULA.search(before):
        return text
    if _INDEX.fullmatch(text):
        return f"_{text}"
    return f"_({text})" if _EXPRESSION.fullmatch(text) and _OPERATOR.search(text) else text
