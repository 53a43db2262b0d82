"""A maths expression: its value or form is that of a gold answer, compared by math-verify (the extra `math`)."""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Any

from tutelage.extras import load
from tutelage.scoring.extract import abstains, marked_result, visible
from tutelage.scoring.numeric import parse_number
from tutelage.scoring.score import Gold, Score, gold_texts


def expression(answer: str, gold: Gold, *, strict: bool = False) -> Score:
    """Compares the marked result of the answer, or all of it, as LaTeX or plain text: fractions, roots, intervals,
    sets, equations. Numbers alone are compared as `numeric` does.

    strict: only a marked result counts.

    Raises ValueError where a gold answer cannot be read, and where math-verify is not installed.
    """
    accepted = [(value, _parse_gold(marked_result(value) or value)) for value in gold_texts(gold)]
    text = visible(answer)
    extracted = marked_result(text) or ("" if strict or abstains(text) else text)
    read = _parse(extracted) if extracted else []
    if not read:
        return Score("abstained" if abstains(text) else "unparsable")
    verify = load("math_verify", "math").verify
    right = any(
        _same_number(value, extracted) or verify(list(parsed), list(read), timeout_seconds=None)
        for value, parsed in accepted
    )
    return Score("right" if right else "wrong", extracted)


def _same_number(gold: str, answer: str) -> bool:
    first, second = (parse_number(marked_result(text) or text) for text in (gold, answer))
    return first is not None and second is not None and first[0] == second[0]


@lru_cache(maxsize=10_000)
def _parse_gold(text: str) -> tuple[Any, ...]:
    parsed = _parse(text)
    if not parsed:
        raise ValueError(f"the gold answer {text!r} is no expression that can be read")
    return tuple(parsed)


def _parse(text: str) -> list[Any]:
    """What math-verify reads, nothing where that is no expression but a text; without its own time limit, which needs
    the main thread: a process of ours is killed."""
    module = load("math_verify", "math")
    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns of every call without its time limit
    wrapped = text if "$" in text or "\\boxed" in text else f"${text}$"
    options = {"parsing_timeout": None, "raise_on_error": False}
    found = list(module.parse(wrapped, **options) or module.parse(text, **options))
    return found if any(not isinstance(part, str) for part in found) else []
