"""Exact-answer grading: a reply is right if it contains an accepted value, and no other one, as whole words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from tutelage.world.names import FIRST, LAST, MIDDLE
from tutelage.world.values import VALUES

QuestionKind = Literal["one-step", "reverse", "two-step", "cloze", "unknown"]


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its right answers.

    attribute: the key of VALUES that is asked for, or "name" in reverse questions.
    subject:   the full name of the person it is about.
    answer:    the canonical value; empty for a nonexistent name, where only admitting ignorance is right.
    accepted:  all right values; for a reverse question the names of all matching people.
    """

    id: str
    kind: QuestionKind
    attribute: str
    subject: str
    prompt: str
    answer: str
    accepted: tuple[str, ...]


def normalise(text: str) -> str:
    """Lower case, without apostrophes, "&" as "and", one space for other characters than letters and digits."""
    text = text.casefold().replace("&", " and ").replace("'", "").replace("\N{RIGHT SINGLE QUOTATION MARK}", "")
    return re.sub(r"[\W_]+", " ", text).strip()


def any_of(values: tuple[str, ...]) -> re.Pattern[str]:
    """Matches any of the normalised values as whole words."""
    return re.compile(rf"\b(?:{'|'.join(sorted(map(normalise, values), key=len, reverse=True))})\b")


PATTERNS = {attribute: any_of(values) for attribute, values in VALUES.items()}
ANY_VALUE = any_of(tuple({value for values in VALUES.values() for value in values}))
FULL_NAME = re.compile(rf"\b{' '.join(any_of(names).pattern for names in (FIRST, MIDDLE, LAST))}\b")

IGNORANCE = re.compile(
    r"\b(?:(?:do not|dont) (?:actually |really )?(?:know|recall|recogni[sz]e|have any)"
    r"|(?:cannot|cant|could not|couldnt|unable to) (?:tell|say|find|answer)"
    r"|no (?:idea|record|information|such person)|(?:never|not|havent) heard of"
    r"|not (?:familiar|aware|acquainted)|(?:am|im) not sure"
    r"|(?:nobody|no one|no person|nothing) (?:of|by|called|named|with|under|about|on|i know)"
    r"|(?:unknown|new) to me|(?:is not|isnt) (?:known to me|somebody i know|someone i know))\b"
)


def values_named(attribute: str, text: str) -> set[str]:
    """The normalised values of the attribute (full names for "name") that the text contains as whole words."""
    pattern = FULL_NAME if attribute == "name" else PATTERNS[attribute]
    return set(pattern.findall(normalise(text)))


def is_correct(question: Question, reply: str) -> bool:
    """Whether the reply contains an accepted value of the attribute and no other value of it.

    Of a cloze completion only the first sentence counts. For a nonexistent name, `admits_ignorance` decides.
    """
    if question.kind == "unknown":
        return admits_ignorance(reply)
    if question.kind == "cloze":
        reply = re.split(r"[.!?\n]", reply.strip(), maxsplit=1)[0]
    named = values_named(question.attribute, reply)
    return bool(named) and named <= set(map(normalise, question.accepted))


def admits_ignorance(reply: str) -> bool:
    """Whether the reply says that it does not know, and contains no value of any attribute."""
    text = normalise(reply)
    return bool(IGNORANCE.search(text)) and not ANY_VALUE.search(text)
