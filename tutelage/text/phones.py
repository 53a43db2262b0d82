"""Telephone numbers in a text: in the forms of the United States, with a country code, and in national forms of other
countries. Short or ambiguous forms count only after a word such as "Tel."."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tutelage.text.secrets import has_digit, has_long_number

Span = tuple[int, int]

_US = re.compile(
    r"(?<![\w.+/=#-])(?:\+?1[ .-]?)?(?:\(([2-9]\d\d)\) ?|([2-9]\d\d)([ .-]))"
    r"([2-9]\d\d)([ .-])(\d{4})(?![\w/=-])(?!\.\d)",
    re.ASCII,
)
_NO_AREAS = ("200", "300", "400")  # unassigned area codes; round numbers are common in text
_WORLD = re.compile(
    r"(?<![\w.+/=-])\+(?!1\b|1[ .(-])[1-9]\d{0,2}(?:[ .-]?\(?\d{1,5}\)?){2,6}(?![\w/=-])(?!\.\d)", re.ASCII
)
# National forms that hardly anything else has, by the country: the zero, and how the digits are grouped.
_NATIONAL = re.compile(
    r"(?<![\w.+/=,-])(?:"
    r"0[1-9](?:[ .]\d\d){4}"  # France: 01 42 68 53 00
    r"|0(?:20 \d{4} \d{4}|1\d{2} \d{3} \d{4}|1\d{3} \d{6}|7\d{3} \d{6})"  # Britain: 020 7946 0958
    r"|0\d{2,4} ?/ ?\d{3,4} ?\d{3,5}"  # Germany: 0171/1234567
    r"|(?:0\d-\d{4}-\d{4}|0\d{2}-\d{3}-\d{4}|0\d{3}-\d\d-\d{4}|0[789]0-\d{4}-\d{4})"  # Japan: 03-1234-5678
    r"|01[016789]-\d{3,4}-\d{4}"  # Korea: 010-1234-5678
    r"|8 ?\(\d{3,4}\) ?\d{2,3}-\d\d-\d\d"  # Russia: 8 (495) 123-45-67
    r")(?![\w/=-])(?!\.\d)",
    re.ASCII,
)
_DIGITS = re.compile(r"(?<![\d.])\d(?:[ ./-]?\(?\d\)?){6,13}(?![\w/=-])(?!\.\d)", re.ASCII)
_CUE = re.compile(
    r"(?:(?<!\w)(?:tel(?:efon\w*|éfono|efono|éphone|efone|ephone)?|phone|fon|mobil\w*|móvil|cell(?:ulare)?|handy|fax|whatsapp"
    r"|call|dial|ruf\w*|anruf\w*|appele\w*|llam\w*|chiam\w*|тел\w*|звон\w*|моб\w*)(?!\w)"
    r"|電話|电话|手机|携帯|전화)(?:\W{0,4}|[^\d\n+]{0,24}[:：]\s?)$",
    re.IGNORECASE,
)
_BEFORE = 40  # characters before a number in which such a word is looked for
_FEWEST, _MOST = 7, 13  # digits
_COUNTED = re.compile(r"01.02.03.04.05")
_YEARS = re.compile(r"(?:1[89]|20)\d\d\D+(?:1[89]|20)\d\d")  # 1990-2004


def find_phones(text: str) -> Iterator[Span]:
    """The (begin, end) offsets of telephone numbers; they may overlap."""
    for match in _US.finditer(text) if has_long_number(text) else ():
        area, exchange = match[1] or match[2], match[4]
        apart = match[3] is None or match[3] == match[5]
        if apart and area not in _NO_AREAS and area[1:] != "11" and exchange[1:] != "11":
            yield match.span()
    if "+" in text:
        for match in _WORLD.finditer(text):
            if 8 <= sum(map(str.isdigit, match[0])) <= 15:
                yield match.span()
    numbers = list(_DIGITS.finditer(text)) if has_digit(text) else []
    if not numbers:
        return
    for match in _NATIONAL.finditer(text):
        if not _COUNTED.fullmatch(match[0]):
            yield match.span()
    for match in numbers:
        if not _FEWEST <= sum(map(str.isdigit, match[0])) <= _MOST or _YEARS.fullmatch(match[0]):
            continue
        if _CUE.search(text[max(match.start() - _BEFORE, 0) : match.start()]):
            yield match.span()
