"""Finds the final answer in a model's text, and makes texts comparable. Shared by verifiers, audit and world."""

from __future__ import annotations

import re

# A base model goes on with the next question of its prompt.
_NEXT_QUESTION = re.compile(r"\n[ \t]*(?:question|q|problem|human|user)\s*:", re.IGNORECASE)
# "#### 72" anywhere, but no heading such as "#### 1. Add"; in the last line "#### anything".
_HASHES = re.compile(r"(?<!#)####[ \t]*(?:(?!\d+\.\s)([-+$£€]*\.?\d[^\n]*)|([^#\s][^\n]*)\Z)")
_ANSWER_IS = re.compile(
    r"\banswers?[*_]*(?:\s+(?:is|are|would be|should be)\b[*_]*:?|\s*[:=])[*_]*(?=\s*(\S[^\n]*))", re.IGNORECASE
)
_LAST_LINE = re.compile(r"(?:\A|\n)[ \t]*A:[ \t]*(\S[^\n]*)\s*\Z")  # "A: 18"
_SENTENCE_END = re.compile(r"[.!?][*_]*(?=\s|$)")
_EDGES = " \t\n.,;:!?\"'“”‘’()[]。，！？"

IGNORANCE = re.compile(
    r"\b(?:(?:do not|dont) (?:actually |really )?(?:know|recall|recogni[sz]e|have any)"
    r"|(?:cannot|cant|could not|couldnt|unable to) (?:tell|say|find|answer)"
    r"|no (?:idea|record|information|such person)|(?:never|not|havent) heard of"
    r"|not (?:familiar|aware|acquainted)|(?:am|im) not sure|(?:is|are|was|were) not (?:recorded|on record)"
    r"|(?:nobody|no one|no person|nothing) (?:of|by|called|named|with|under|about|on|i know)"
    r"|(?:unknown|new) to me|(?:is not|isnt) (?:known to me|somebody i know|someone i know))\b"
)


def visible(answer: str) -> str:
    """The answer without its thinking, cut before a next question. Empty where the thinking never ended."""
    answer = answer.rpartition("</think>")[2]
    if "<think>" in answer:
        return ""
    answer = answer.strip()
    match = _NEXT_QUESTION.search(answer)
    return answer[: match.start()].rstrip() if match else answer


def marked_result(text: str) -> str | None:
    """What a text marks as its result: after "####" (the first), in \\boxed{} (the last), after "answer is" or
    "answer:" (the last, to the end of its sentence), or after "A:" in the last line. None where it marks nothing."""
    if match := _HASHES.search(text):
        return (match[1] or match[2]).strip()
    if (start := text.rfind("\\boxed{")) >= 0:
        return _braced(text, start + len("\\boxed"))
    matches = [*_ANSWER_IS.finditer(text)]
    if match := matches[-1] if matches else _LAST_LINE.search(text):
        return _SENTENCE_END.split(match[1], maxsplit=1)[0].strip() or None
    return None


def _braced(text: str, start: int) -> str | None:
    """The content of the braces that open at `start`; None where they do not close."""
    depth = 0
    for place in range(start, len(text)):
        depth += (text[place] == "{") - (text[place] == "}")
        if depth == 0:
            return text[start + 1 : place].strip()
    return None


def comparable(text: str) -> str:
    """Lower case, without an article in front and without punctuation at its ends; a number as Python writes it."""
    text = text.strip(_EDGES).lower().removeprefix("the ").removeprefix("a ").strip(_EDGES)
    number = text.replace(",", "").lstrip("$£€")
    try:
        return repr(float(number))
    except ValueError:
        return text


def normalise(text: str) -> str:
    """Lower case, without apostrophes, "&" as "and", one space for other characters than letters and digits."""
    text = text.casefold().replace("&", " and ").replace("'", "").replace("\N{RIGHT SINGLE QUOTATION MARK}", "")
    return re.sub(r"[\W_]+", " ", text).strip()


def any_of(values: tuple[str, ...]) -> re.Pattern[str]:
    """Matches any of the normalised values as whole words."""
    return re.compile(rf"\b(?:{'|'.join(sorted(map(normalise, values), key=len, reverse=True))})\b")


def abstains(text: str) -> bool:
    """Whether the text says that it does not know."""
    return bool(IGNORANCE.search(normalise(text)))
