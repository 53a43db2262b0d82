"""Exact-answer grading: a reply is right if it contains an accepted value, and no other one, as whole words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from tutelage.scoring.extract import abstains, any_of, normalise
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


PATTERNS = {attribute: any_of(values) for attribute, values in VALUES.items()}
ANY_VALUE = any_of(tuple({value for values in VALUES.values() for value in values}))
FULL_NAME = re.compile(rf"\b{' '.join(any_of(names).pattern for names in (FIRST, MIDDLE, LAST))}\b")


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
    return abstains(reply) and not ANY_VALUE.search(normalise(reply))
