"""The letter of a multiple-choice answer."""

from __future__ import annotations

import re

from tutelage.scoring.extract import abstains, marked_result, visible
from tutelage.scoring.score import Gold, Score, gold_texts

_DECORATION = re.compile(r"\\(?:text|mathrm|mathbf|textbf)|[*_$`{}\[\]]")
# "B", "(B)", "B.", "B) text", "B: text"; not the article of "A dog", and not "I, for one".
_LEADING = re.compile(
    r"\s*(?:(?i:option|choice)\s)?\s*"
    r"(?:\(([A-Z]|[a-z](?=\)\s*\Z))\)|([A-HJ-Z])(?=\s*(?:[.):,]|\Z|\n))|([A-HJ-Z])(?=\s+(?:and|or)\s))"
)
_ANOTHER = re.compile(r"[\s).,]*(?:and|or|/)\s*\(?([A-Z])\b")
_VERDICT = re.compile(r"\[\[\s*([A-Za-z])\s*\]\]")
_CHOSEN = re.compile(r"\b(?:option|choice)\s+(?:is\s+)?\(?([A-Z])\b(?!')")
_IN_PARENTHESES = re.compile(r"\(([A-Z])\)")


def choice(answer: str, gold: Gold) -> Score:
    """Reads the letter from "[[B]]", from a marked result, from the start of the answer, from "option B", or from the
    one letter that stands in parentheses. Two letters, as in "B or C", are unparsable.

    Raises ValueError where a gold answer is no letter.
    """
    letters = {value.strip("()").upper() for value in gold_texts(gold)}
    if not all(len(letter) == 1 and letter.isalpha() for letter in letters):
        raise ValueError(f"the gold answer {gold!r} is no letter, such as B or (B)")
    text = visible(answer)
    letter = chosen_letter(text)
    if letter:
        return Score("right" if letter in letters else "wrong", letter)
    return Score("abstained" if abstains(text) else "unparsable")


def chosen_letter(text: str) -> str:
    """The chosen letter, in upper case; "" where there is none or more than one."""
    if verdicts := _VERDICT.findall(text):
        return str(verdicts[-1]).upper()
    for part in (marked_result(text), text):
        plain = _DECORATION.sub("", part or "")
        if match := _LEADING.match(plain):
            return "" if match[3] or _ANOTHER.match(plain, match.end()) else (match[1] or match[2]).upper()
    plain = _DECORATION.sub("", text)
    found = _CHOSEN.findall(plain)[-1:] or _IN_PARENTHESES.findall(plain)
    return str(found[0]) if len(set(found)) == 1 else ""
