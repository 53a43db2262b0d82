"""Verdicts of judges: a label or a score that was not given is none, and never the worst one."""

from __future__ import annotations

import math

from tutelage.synth.method import Drop, Reply, Unparsable
from tutelage.synth.parse import score


def p_of_first(reply: Reply) -> float:
    """The probability of A among A and B: by log-probabilities where the endpoint gives them, else by the letter.

    Raises:
        Drop: it is neither.
    """
    tokens = (reply.choice.get("logprobs") or {}).get("content") or [{}]
    likely = {entry["token"].strip(): entry["logprob"] for entry in reversed(tokens[0].get("top_logprobs") or ())}
    if "A" in likely and "B" in likely:
        return 1 / (1 + math.exp(likely["B"] - likely["A"]))
    letter = reply.raw.strip().strip("().").upper()
    if letter not in ("A", "B"):
        raise Drop("no label", reply.raw)
    return float(letter == "A")


def points_of(text: str, low: float = 0, high: float = 5) -> float | None:
    """The score at the end of a judge's reply; None where there is none on the scale."""
    try:
        return score(text, low, high)
    except Unparsable:
        return None
