"""Answers in passages of held-out rows, scored as SQuAD does."""

from __future__ import annotations

import numpy as np

from tutelage.evaluate.results import RateGroup, Results, Suite, outcomes_of
from tutelage.evaluate.session import EvalSession
from tutelage.evaluate.specialists import answer_spans
from tutelage.evaluate.statistics import mean_interval, rate
from tutelage.scoring.spans import exact_match, f1

SAMPLES = 20


def run(session: EvalSession) -> Results:
    """Exact match as a rate, and the mean F1 over words with its interval."""
    rows = [row for rows in session.open_labelled().values() for row in rows]
    if not rows:
        return Results({})
    answers = answer_spans(session.checkpoint("model"), rows, session.batch_tokens)
    gold = [[answer.text for answer in row.answers] for row in rows]
    exact = [exact_match(*both) for both in zip(answers, gold, strict=True)]
    overlaps = np.array([f1(*both) for both in zip(answers, gold, strict=True)])
    samples = [
        {
            "question": rows[number].text,
            "gold": " | ".join(gold[number]),
            "answer": answers[number],
            "f1": float(overlaps[number]),
        }
        for number in np.argsort(overlaps, kind="stable")[:SAMPLES]
    ]
    outcomes = {"exact": outcomes_of([row.id for row in rows], exact)}
    rates = {"exact": rate(sum(exact), len(exact))}
    return Results(rates, outcomes, samples, {"f1": mean_interval(overlaps)})


SUITE = Suite(
    name="spans",
    needs=frozenset({"span_labels"}),
    run=run,
    labels={"exact": "exact match"},
    groups=(RateGroup("Answers in passages", "Of held-out questions."),),
)
