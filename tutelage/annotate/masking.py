"""Model names in answers: masked, so that a vote is blind; and found, so that votes on such answers stay apart."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tutelage.chat.audit.check import Exchange
from tutelage.chat.audit.checks.identity import identity_claims

MASK = "█████"
_SELF = r"(?:\bI am|\bI['’]m|\bmy name is|\bcall me|\bknown as|\bcalled|\bas)(?: an?| the| model)? "


def mask_names(question: str, answer: str, models: Iterable[str]) -> tuple[str, bool]:
    """The answer with every name of a model masked, and whether there was one.

    A name with a digit or a capital letter is masked wherever it stands, a plain word such as "chat" only where the
    answer speaks of itself ("I am chat"). So are names and makers that the answer claims, whoever they belong to.
    """
    claimed = {name for _, name in identity_claims(Exchange(question, answer, answer.lower()))}
    masked = answer
    for name in sorted({part for model in models for part in name_parts(model)} | claimed, key=len, reverse=True):
        word = r"[\s_-]+".join(map(re.escape, re.split(r"[\s_-]+", name)))
        word = rf"(?<!\w){word}(?!\w)"
        if name in claimed or re.search(r"[A-Z0-9]", name):
            masked = re.sub(word, MASK, masked, flags=re.IGNORECASE)
        else:
            masked = re.sub(rf"({_SELF})\W?{word}", rf"\1{MASK}", masked, flags=re.IGNORECASE)
    return masked, masked != answer


def name_parts(model: str) -> list[str]:
    """The names under which a model may be known: its whole name, and the last part of a path."""
    last = re.split(r"[/\\]", model.rstrip("/\\"))[-1]
    return [name for name in dict.fromkeys([model, last]) if name.strip()]
