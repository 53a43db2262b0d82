"""Classes of held-out texts: the share of right ones, and the mean F1 of the classes."""

from __future__ import annotations

import numpy as np

from tutelage.evaluate.results import RateGroup, Results, Suite, outcomes_of
from tutelage.evaluate.session import EvalSession
from tutelage.evaluate.specialists import classify_texts
from tutelage.evaluate.statistics import rate

SAMPLES = 20


def run(session: EvalSession) -> Results:
    """All held-out rows; wrong ones come first among the samples."""
    rows = [row for rows in session.open_labelled().values() for row in rows]
    if not rows:
        return Results({})
    probabilities = classify_texts(session.checkpoint("model"), rows, session.batch_tokens)
    predicted = [max(row, key=row.__getitem__) for row in probabilities]
    gold = [row.label or "" for row in rows]
    right = [ours == theirs for ours, theirs in zip(predicted, gold, strict=True)]
    samples = [
        {"text": row.text, "second": row.second, "label": row.label, "predicted": name, "probability": share[name]}
        for row, name, share in sorted(
            zip(rows, predicted, probabilities, strict=True), key=lambda item: item[0].label == item[1]
        )
    ]
    figures = {"macro_f1": macro_f1(predicted, gold)}
    outcomes = {"right": outcomes_of([row.id for row in rows], right)}
    return Results({"right": rate(sum(right), len(right))}, outcomes, samples[:SAMPLES], figures)


def macro_f1(predicted: list[str], gold: list[str]) -> float:
    """The mean over all classes of F1, which is 0 of a class that is never right."""
    ours, theirs = np.array(predicted), np.array(gold)
    names = sorted({*predicted, *gold})
    right = [int(((ours == name) & (theirs == name)).sum()) for name in names]
    counts = [int((ours == name).sum() + (theirs == name).sum()) for name in names]
    return float(np.mean([2 * hits / count for hits, count in zip(right, counts, strict=True)]))


SUITE = Suite(
    name="classification",
    needs=frozenset({"sequence_labels"}),
    run=run,
    labels={"right": "right class"},
    groups=(RateGroup("Classes", "Of held-out texts."),),
)
