"""The marked result of the answer, or the whole answer, is a right answer."""

from __future__ import annotations

from tutelage.scoring.extract import abstains, comparable, marked_result, visible
from tutelage.scoring.score import Gold, Score, gold_texts


def exact(answer: str, gold: Gold) -> Score:
    """Compares without case, punctuation at the ends and leading article; numbers by value."""
    text = visible(answer)
    extracted = marked_result(text) or text
    if _key(extracted) in {_key(value) for value in gold_texts(gold)}:
        return Score("right", extracted)
    if abstains(text):
        return Score("abstained")
    return Score("wrong" if extracted else "unparsable", extracted)


def _key(text: str) -> str:
    return comparable(text) or text.strip()  # brackets alone can be an answer
