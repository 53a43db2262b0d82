"""The answer follows constraints of form: the 25 kinds of IFEval (arXiv 2311.07911), each a function of its file.

A constraint is its kind with arguments, as in IFEval's rows: {"kind": "length_constraints:number_words",
"relation": "at least", "num_words": 300}.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from tutelage.scoring.constraint_kinds import CONSTRAINTS
from tutelage.scoring.score import Gold, Score, gold_texts

Constraint = tuple[str, Callable[[str], bool]]


def constraints(answer: str, gold: Gold, *, loose: bool = False) -> Score:
    """Right if all constraints of the gold answer, a JSON list, are met; what is read from the answer are the kinds
    that are not. The whole answer counts, and not a marked result.

    loose: as the paper's loose accuracy: also without the first line, the last line, both, or markdown's asterisks.

    Raises ValueError where the gold answer is no list of constraints, or one has no such kind or arguments.
    """
    checks = read_constraints(gold_texts(gold)[0])
    variants = _variants(answer) if loose else [answer]
    failed = [kind for kind, check in checks if not any(text.strip() and check(text) for text in variants)]
    return Score("wrong", ", ".join(failed)) if failed else Score("right")


@lru_cache(maxsize=10_000)
def read_constraints(text: str) -> tuple[Constraint, ...]:
    """The constraints of a JSON list, each with its check. Raises ValueError as `constraints`."""
    try:
        rows = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"the gold answer {text!r} is no JSON list of constraints ({error})") from error
    if not isinstance(rows, list) or not rows:
        raise ValueError(f"the gold answer {text!r} is no list of constraints")
    return tuple(_constraint(row) for row in rows)


def _constraint(row: Mapping[str, Any]) -> Constraint:
    options = {name: value for name, value in row.items() if value is not None}
    kind = options.pop("kind", None)
    if kind not in CONSTRAINTS:
        raise ValueError(f"{kind!r} is no kind of constraint; the kinds are {', '.join(CONSTRAINTS)}")
    make = CONSTRAINTS[kind]
    try:
        return kind, make(**options)
    except (TypeError, AttributeError) as error:
        raise ValueError(f"constraint {kind!r}: {error}") from error


def _variants(answer: str) -> Sequence[str]:
    lines = answer.split("\n")
    parts = [answer, "\n".join(lines[1:]), "\n".join(lines[:-1]), "\n".join(lines[1:-1])]
    parts = [parts[0], *(part.strip() for part in parts[1:])]
    return [*parts, *(part.replace("*", "") for part in parts)]
