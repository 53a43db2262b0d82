"""Verifiers: an answer and its gold to an outcome. RL rewards, evaluations, synthesis and tools share them.

A verifier is a function in a file of its own and an entry in VERIFIERS (docs/scoring.md).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from tutelage.extras import load as load_extra
from tutelage.scoring.choice import choice
from tutelage.scoring.constraints import constraints
from tutelage.scoring.contains import contains
from tutelage.scoring.exact import exact
from tutelage.scoring.expression import expression
from tutelage.scoring.function import function, load
from tutelage.scoring.numeric import numeric
from tutelage.scoring.regex import regex
from tutelage.scoring.score import Gold, Outcome, Score, Verifier, gold_texts
from tutelage.scoring.unit_tests import unit_tests
from tutelage.workers import TimedWorker

__all__ = ["VERIFIERS", "Gold", "Outcome", "Score", "Verifier", "check_golds", "make_verifier"]

VERIFIERS: dict[str, Callable[..., Score]] = {
    "exact": exact,
    "contains": contains,
    "numeric": numeric,
    "choice": choice,
    "regex": regex,
    "expression": expression,
    "constraints": constraints,
    "unit_tests": unit_tests,
    "function": function,
}
_MAY_HANG = {"regex", "expression", "constraints", "function"}  # run in a process that can be killed


def make_verifier(spec: str | Mapping[str, Any], seconds: float = 5) -> Verifier:
    """The verifier of "numeric", of {"kind": "numeric", "strict": True}, or of "package.module:function".

    seconds: limit for one answer, for the kinds that may hang; the outcome is then "timed out".

    Raises ValueError for an unknown kind or option.
    """
    options = dict(spec) if isinstance(spec, Mapping) else {"kind": spec}
    kind = options.pop("kind", None)
    if isinstance(kind, str) and ":" in kind:
        kind, options = "function", {"name": kind, **options}
    if kind not in VERIFIERS:
        raise ValueError(f"{kind!r} is no verifier; use one of {', '.join(VERIFIERS)}, or package.module:function")
    known = inspect.signature(VERIFIERS[kind])
    try:
        known.bind("", "", **options)
    except TypeError as error:
        names = ", ".join([*known.parameters][2:]) or "none"
        raise ValueError(f"verifier {kind}: {error}; its options are: {names}") from error
    verify = partial(VERIFIERS[kind], **options)
    if kind not in _MAY_HANG:
        return verify
    prepare = {
        "function": partial(load, options.get("name", "")),
        "expression": partial(load_extra, "math_verify", "math"),
    }.get(kind)
    worker = TimedWorker(partial(_apply, verify), seconds, prepare)

    def timed(answer: str, gold: Gold) -> Score:
        try:
            return worker((answer, gold))
        except TimeoutError:
            return Score("timed out")

    return timed


def _apply(verify: Verifier, job: tuple[str, Gold]) -> Score:
    return verify(*job)


def check_golds(verify: Verifier, golds: Sequence[Gold], form: str = "{}") -> None:
    """Tests a verifier on its own gold answers before a run depends on them: each must be right for itself, and not
    every one may be right for the first. `form` makes an answer of a gold, such as "#### {}".

    Raises ValueError with the number and the gold that fails.
    """
    answers = [[form.replace("{}", text) for text in gold_texts(gold)] for gold in golds]
    for number, (gold, texts) in enumerate(zip(golds, answers, strict=True)):
        for text in texts:
            if (score := verify(text, gold)).outcome != "right":
                raise ValueError(f"gold answer {number}, {gold!r}, is {score.outcome} by its own verifier")
    others = [texts[0] for texts, gold in zip(answers, golds, strict=True) if gold != golds[0]]
    if others and all(verify(text, golds[0]).outcome == "right" for text in others):
        raise ValueError(f"the verifier accepts every gold answer for the first, {golds[0]!r}: it tells nothing apart")
