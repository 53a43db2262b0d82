"""Questions of the user's own, with answers that a verifier checks; before and after, paired."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from tutelage.evaluate.answers import can_chat
from tutelage.evaluate.questions import Answered, answer_questions, question_rates
from tutelage.evaluate.results import RateGroup, Results, Suite, outcomes_of
from tutelage.evaluate.session import EvalSession
from tutelage.evaluate.statistics import paired_difference

SAMPLES = 50


def run(session: EvalSession) -> Results:
    """The share of each outcome, and where the model that training started from can chat its share of right answers
    too, with the paired difference as `gain`."""
    questions, system = session.open_questions(), session.prompts.system
    after = answer_questions(session.checkpoint("model"), questions, system)
    rates, figures, before = question_rates(after), {}, None
    parent = session.checkpoint("parent")
    if can_chat(parent):
        before = answer_questions(parent, questions, system)
        rates["before.right"] = question_rates(before)["right"]
        figures["gain"] = asdict(paired_difference(_right(before), _right(after)))
    ids = [one.question.id for one in after]
    outcomes = {"right": outcomes_of(ids, _right(after).astype(bool).tolist())}
    return Results(rates, outcomes, _samples(after, before), figures)


def _right(answered: list[Answered]) -> np.ndarray:
    return np.array([int(one.outcome == "right") for one in answered])


def _samples(after: list[Answered], before: list[Answered] | None) -> list[dict[str, str]]:
    """The first questions with the answers; those that are not right come first."""
    rows = [
        {
            "id": one.question.id,
            "prompt": one.question.prompt.messages[-1].text,
            "gold": str(one.question.gold),
            "before": "" if before is None else before[number].answer,
            "after": one.answer,
            "outcome": one.outcome,
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
        "wrong": "wrong",
        "unparsable": "no answer could be read",
        "abstained": "says that it does not know",
        "cut_off": "cut off at the limit of tokens",
        "timed_out": "the verifier took too long",
    },
    groups=(RateGroup("Questions of your own", "Scored by the verifier of each row."),),
    lower_is_better=frozenset({"wrong", "unparsable", "cut_off", "timed_out"}),
)
