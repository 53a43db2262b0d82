"""Questions of the user's own, with answers that a verifier checks; before and after, paired."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from itertools import islice
from typing import Any

import numpy as np

from tutelage.evaluate.answers import can_chat
from tutelage.evaluate.contamination import find_contamination, of_questions
from tutelage.evaluate.questions import Answered, answer_questions, question_rates
from tutelage.evaluate.results import RateGroup, Results, Suite, outcomes_of
from tutelage.evaluate.session import EvalSession
from tutelage.evaluate.statistics import Rate, paired_difference, rate

SAMPLES = 50
SEARCHED = 200_000  # training texts; so many take a minute or two


def run(session: EvalSession) -> Results:
    """The share of each outcome, and where the model that training started from can chat its share of right answers
    too, with the paired difference as `gain`. Where questions stand in the stage's training rows, the share of right
    answers on those and on the rest, `dirty` and `clean`."""
    questions, system = session.open_questions(), session.prompts.system
    after = answer_questions(session.checkpoint("model"), questions, system)
    rates, before = question_rates(after), None
    figures: dict[str, Any] = {}
    parent = session.checkpoint("parent")
    if can_chat(parent):
        before = answer_questions(parent, questions, system)
        rates["before.right"] = question_rates(before)["right"]
        figures["gain"] = asdict(paired_difference(_right(before), _right(after)))
    found_in = _contaminated(session, after, rates, figures)
    ids = [one.question.id for one in after]
    outcomes = {"right": outcomes_of(ids, _right(after).astype(bool).tolist())}
    return Results(rates, outcomes, _samples(after, before, found_in), figures)


def _contaminated(
    session: EvalSession, after: list[Answered], rates: dict[str, Rate], figures: dict[str, Any]
) -> dict[str, str]:
    """Adds the rates of the clean and the dirty part, and returns where each dirty question stands, by its id."""
    items = of_questions([one.question for one in after])
    if not any(item.is_matchable for item in items):
        return {}
    texts = list(islice(session.open_training(), SEARCHED))
    if not texts:
        return {}
    try:
        matches, unmatchable, _ = find_contamination(items, texts)
    except ValueError:  # all their n-grams are boilerplate that too many of them share
        matches, unmatchable = [], [item.id for item in items]
    dirty = {match.id: f"{match.place}: {match.text}" for match in matches if match.dirty}
    figures["contamination"] = {"dirty": len(dirty), "unmatchable": len(unmatchable), "texts": len(texts)}
    parts = {
        "dirty": [one.outcome == "right" for one in after if one.question.id in dirty],
        "clean": [one.outcome == "right" for one in after if one.question.id not in {*dirty, *unmatchable}],
    }
    if dirty:
        rates |= {name: rate(sum(right), len(right)) for name, right in parts.items() if right}
    return dirty


def _right(answered: list[Answered]) -> np.ndarray:
    return np.array([int(one.outcome == "right") for one in answered])


def _samples(after: list[Answered], before: list[Answered] | None, found_in: Mapping[str, str]) -> list[dict[str, str]]:
    """The first questions with the answers; those that are not right come first."""
    rows = [
        {
            "id": one.question.id,
            "prompt": one.question.prompt.messages[-1].text,
            "gold": str(one.question.gold),
            "before": "" if before is None else before[number].answer,
            "after": one.answer,
            "outcome": one.outcome,
            **({"found_in": found_in[one.question.id]} if one.question.id in found_in else {}),
        }
        for number, one in enumerate(after)
    ]
    return sorted(rows, key=lambda row: row["outcome"] == "right")[:SAMPLES]


SUITE = Suite(
    name="questions",
    needs=frozenset({"chat", "questions"}),
    run=run,
    labels={
        "right": "questions of your own: right",
        "before.right": "before training: right",
        "clean": "right, of those that stand in no training row",
        "dirty": "right, of those that stand in a training row",
        "wrong": "wrong",
        "unparsable": "no answer could be read",
        "abstained": "says that it does not know",
        "cut_off": "cut off at the limit of tokens",
        "timed_out": "the verifier took too long",
    },
    groups=(RateGroup("Questions of your own", "Scored by the verifier of each row."),),
    lower_is_better=frozenset({"wrong", "unparsable", "cut_off", "timed_out"}),
)
