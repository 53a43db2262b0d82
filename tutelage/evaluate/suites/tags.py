"""Tags of the words of held-out texts: entities scored as seqeval does."""

from __future__ import annotations

import numpy as np

from tutelage.evaluate.results import RateGroup, Results, Suite
from tutelage.evaluate.session import EvalSession
from tutelage.evaluate.specialists import tag_words
from tutelage.evaluate.statistics import Rate, rate, share_of_sums
from tutelage.scoring.tags import count_entities

SAMPLES = 20


def run(session: EvalSession) -> Results:
    """Precision, recall and F1 of entities, with intervals over the rows; and the share of words with the right tag."""
    rows = [row for rows in session.open_labelled().values() for row in rows]
    if not rows:
        return Results({})
    predicted = tag_words(session.checkpoint("model"), rows, session.batch_tokens)
    gold = [[word.tag for word in row.words] for row in rows]
    right_R, predicted_R, gold_R = np.array([count_entities(*both) for both in zip(predicted, gold, strict=True)]).T
    words = [ours == theirs for row in zip(predicted, gold, strict=True) for ours, theirs in zip(*row, strict=True)]
    rates: dict[str, Rate] = {"word": rate(sum(words), len(words))}
    for name, hits, totals in (
        ("precision", right_R, predicted_R),
        ("recall", right_R, gold_R),
        ("f1", 2 * right_R, predicted_R + gold_R),
    ):
        if totals.sum():
            rates[name] = share_of_sums(hits, totals)
    samples = [
        {"text": row.text, "gold": " ".join(theirs), "predicted": " ".join(ours)}
        for row, ours, theirs in sorted(zip(rows, predicted, gold, strict=True), key=lambda item: item[1] == item[2])
    ]
    return Results(rates, samples=samples[:SAMPLES])


SUITE = Suite(
    name="tags",
    needs=frozenset({"token_labels"}),
    run=run,
    labels={"f1": "F1 of entities", "precision": "precision", "recall": "recall", "word": "words with the right tag"},
    groups=(RateGroup("Entities", "In held-out texts; right are type, first and last word."),),
)
