"""Tries a verifier on the gold answers that it will be used with, before a run depends on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from tutelage.scoring.constraints import read_constraints
from tutelage.scoring.score import Gold, Verifier, gold_texts
from tutelage.scoring.unit_tests import read_tests


class Trial(NamedTuple):
    """Answers that a verifier must call right, and such that it must not."""

    right: Sequence[str]
    wrong: Sequence[str]


def try_tests(gold: Gold) -> Trial:
    """The known solution must pass its tests, and a program that does nothing must not. Raises ValueError without
    tests."""
    solution = read_tests(gold).solution
    return Trial([f"```python\n{solution}\n```"] if solution else [], ["```python\npass\n```"])


def try_constraints(gold: Gold) -> Trial:
    """An empty answer meets no constraints. Raises ValueError where one has no such kind or arguments."""
    read_constraints(gold_texts(gold)[0])
    return Trial([], [""])


# Verifiers whose gold says what an answer must do, and is none itself.
SPECIFICATIONS: Mapping[str, Callable[[Gold], Trial]] = {"unit_tests": try_tests, "constraints": try_constraints}

# Short answers made from a gold answer; verifiers that read a marked result need one of them.
FORMS = ("{}", "The answer is {}.", "#### {}", "\\boxed{{{}}}", "({})")
OTHERS = 8  # gold answers of other prompts that are tried as wrong answers, before a verifier is refused


def check_verifier(spec: str | Mapping[str, Any], verify: Verifier, golds: Sequence[Gold | None]) -> None:
    """Try a verifier on its own gold answers before a run depends on them (open-r1 #293: gold that could not be parsed
    paid for every answer): for each prompt its gold, or a short answer made from it, must be right, and the gold of
    another prompt wrong. A run whose gold answers are all the same has no wrong one to try. Where gold says what an
    answer must do, as tests and constraints, see SPECIFICATIONS.

    spec: what `verify` was made from.

    Raises:
        ValueError: one is not; the sentence names it.
    """
    texts: list[list[str]] = []
    for number, gold in enumerate(golds):
        if gold is None:
            raise ValueError(f"prompt {number + 1} has no gold answer, and a verifier needs one")
        texts.append(gold_texts(gold))
    kind = str(spec if isinstance(spec, str) else spec.get("kind"))
    if kind in SPECIFICATIONS:
        for number, gold in enumerate(golds):
            assert gold is not None
            _check_specification(SPECIFICATIONS[kind](gold), verify, gold, number + 1)
        return
    form = next((form for form in FORMS if verify(form.format(texts[0][0]), golds[0] or "").outcome == "right"), None)
    if form is None:
        outcome = verify(texts[0][0], golds[0] or "").outcome
        raise ValueError(f"the gold answer of prompt 1, {golds[0]!r}, is {outcome} by its own verifier")
    distinct = list(dict.fromkeys(own[0] for own in texts))
    for number, (gold, own) in enumerate(zip(golds, texts, strict=True)):
        assert gold is not None
        for text in own:
            if (outcome := verify(form.format(text), gold).outcome) != "right":
                raise ValueError(f"the gold answer of prompt {number + 1}, {gold!r}, is {outcome} by its own verifier")
        start = number % len(distinct)
        others = [text for text in (distinct[start:] + distinct[:start])[: OTHERS + 1] if text not in own]
        if others and all(verify(form.format(text), gold).outcome == "right" for text in others):
            raise ValueError(
                f"the verifier accepts {others[0]!r} where the gold answer of prompt {number + 1} is {gold!r}: it "
                "tells nothing apart"
            )


def _check_specification(trial: Trial, verify: Verifier, gold: Gold, number: int) -> None:
    for answer in trial.right:
        if (score := verify(answer, gold)).outcome != "right":
            raise ValueError(
                f"the known solution of prompt {number} is {score.outcome} by its own verifier ({score.extracted})"
            )
    for answer in trial.wrong:
        if verify(answer, gold).outcome == "right":
            raise ValueError(f"the verifier accepts {answer!r} for prompt {number}: it tells nothing apart")
