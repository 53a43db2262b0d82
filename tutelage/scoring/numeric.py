"""A number: after "####", in \\boxed{}, after "answer is", or the last of the answer."""

from __future__ import annotations

import re
from fractions import Fraction

from tutelage.scoring.extract import abstains, marked_result, visible
from tutelage.scoring.score import Gold, Score, gold_texts

_LATEX = (
    (re.compile("[\N{MINUS SIGN}\N{EN DASH}]"), "-"),
    (re.compile(r"\{,\}"), ","),  # 10{,}000
    (re.compile(r"(?<=\d)\\[,! ](?=\d{3})"), ","),  # 10\,000
    (re.compile(r"\\%"), "%"),
    (re.compile(r"\\[dtc]?frac\s*(?:\{(-?\d+)\}\s*\{(\d+)\}|(\d)(\d))"), r" \1\3/\2\4 "),
    (re.compile(r"\^\s*\{?\\circ\}?|°"), ""),
    (re.compile(r"\\(?:text|textbf|mathrm|mathbf|mbox)\s*\{([^{}]*)\}"), r" \1 "),
    (re.compile(r"\\\$|[$£€*`]|\\[()\[\],!; ]"), ""),
)
_UNSIGNED = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+"
_NUMBER = re.compile(
    rf"(?<![\w.)])(?P<sign>[-+]?)(?:(?P<whole>\d+)\s+(?P<part>\d+\s*/\s*\d+)"
    rf"|(?P<number>{_UNSIGNED})(?:\s*/\s*(?P<divisor>{_UNSIGNED})|(?P<exponent>[eE][-+]?\d{{1,2}}(?!\d)))?)\s*(?P<percent>%?)"
)
# What makes the number a part of something else: 2\sqrt{3}, 7\pi, 4a - 2, 4:30, 3 + 5, 5 and 6
_GOES_ON = re.compile(
    r"\s*(?:\\|[A-Za-z](?![A-Za-z])(?<=\d.)|[-+*/^:×·]\s*(?:[\d(\\]|[a-z](?![a-z]))|(?:,|and|or|to)\s*-?\d)"
)
_MAX_DIGITS = 400


def numeric(answer: str, gold: Gold, *, strict: bool = False, tolerance: float = 1e-6) -> Score:
    """Compares values, up to a relative tolerance. Units, currency signs and thousands separators do not count; 50%
    equals 50 and 0.5; 1/2, 1 1/2 and \\frac{1}{2} are numbers.

    strict: only a marked result counts, not the last number of the answer.

    Raises ValueError where a gold answer is no number.
    """
    accepted = []
    for value in gold_texts(gold):
        if (number := parse_number(marked_result(value) or value)) is None:
            raise ValueError(f"the gold answer {value!r} is no number: use another verifier, or leave the item out")
        accepted.append(number)
    text = visible(answer)
    marked = marked_result(text)
    found = parse_number(marked) if marked else None
    if found is None and not (marked and re.search(r"\d", marked)):
        if abstains(text):
            return Score("abstained")
        found = None if strict else _last_number(text)
    if found is None:
        return Score("unparsable", marked or "")
    right = any(_equal(found, number, tolerance) for number in accepted)
    return Score("right" if right else "wrong", found[1])


Number = tuple[Fraction, str]  # value, and how it is written


def parse_number(text: str) -> Number | None:
    """The number that the text states; None where it states none, or a term of which a number is a part."""
    text = _plain(text)
    text = re.sub(r"\A-\s+", "-", re.split(r"[=≈]|\\approx", text)[-1].strip())
    match = _NUMBER.search(text)
    if match is None or _GOES_ON.match(text, match.end()) or re.search(r"\\\w|\^", text[: match.start()]):
        return None
    return _value(match)


def _last_number(text: str) -> Number | None:
    matches = [*_NUMBER.finditer(_plain(text))]
    return _value(matches[-1]) if matches else None


def _plain(text: str) -> str:
    for pattern, instead in _LATEX:
        text = pattern.sub(instead, text)
    return text


def _value(match: re.Match[str]) -> Number | None:
    if len(match[0]) > _MAX_DIGITS:
        return None
    try:
        if match["whole"]:
            value = Fraction(match["whole"]) + Fraction(match["part"].replace(" ", ""))
        else:
            value = Fraction(match["number"].replace(",", "") + (match["exponent"] or ""))
            value /= Fraction((match["divisor"] or "1").replace(",", ""))
    except ZeroDivisionError:
        return None
    return (-value if match["sign"] == "-" else value), match[0].strip()


def _equal(found: Number, gold: Number, tolerance: float) -> bool:
    (value, written), (right, gold_written) = found, gold
    values = {value} if ("%" in written) == ("%" in gold_written) else {value, value / 100, value * 100}
    return any(abs(other - right) <= Fraction(tolerance) * abs(right) for other in values)
