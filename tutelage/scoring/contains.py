"""The answer contains a right value as whole words, and none of the other values."""

from __future__ import annotations

from collections.abc import Sequence

from tutelage.scoring.extract import abstains, any_of, normalise, visible
from tutelage.scoring.score import Gold, Score, gold_texts


def contains(answer: str, gold: Gold, *, others: Sequence[str] = ()) -> Score:
    """Compares letters and digits only. Without `others`, an answer that lists everything is right: use it for closed
    sets of values, or where answers are short.

    Raises ValueError where a gold answer has no letter or digit.
    """
    accepted = {normalise(value) for value in gold_texts(gold)}
    if "" in accepted:
        raise ValueError(f"the gold answer {gold!r} has no letter or digit: use the verifier exact")
    text = visible(answer)
    values = tuple(value for value in (*accepted, *others) if normalise(value))
    named = sorted(set(any_of(values).findall(normalise(text))))
    if named:
        return Score("right" if accepted.issuperset(named) else "wrong", ", ".join(named))
    if abstains(text):
        return Score("abstained")
    return Score("wrong" if text else "unparsable")
