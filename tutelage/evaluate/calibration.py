"""Whether the probabilities that a model gives to choices are those with which they are right.

Shapes: N items, C choices.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

BINS = 10


def calibration(logprobs: Sequence[np.ndarray], golds: Sequence[int]) -> dict[str, float]:
    """The expected calibration error and the Brier score of the choices' probabilities, their likelihoods made to sum
    to 1. Empty where items have a single choice.

    "ece":   over 10 equal bins of the highest probability, |share right - mean probability|, weighted by items (Guo et
             al. 2017, arXiv 1706.04599, equation 3).
    "brier": the squared distance to 1 for the right choice and 0 for the others, summed over choices (Brier 1950);
             four choices that are equally likely give 0.75.
    """
    pairs = [(values, gold) for values, gold in zip(logprobs, golds, strict=True) if len(values) > 1]
    if not pairs:
        return {}
    confidence_N, right_N, brier_N = (np.empty(len(pairs)) for _ in range(3))
    for place, (values, gold) in enumerate(pairs):
        p_C = np.exp(values - values.max())
        p_C /= p_C.sum()
        confidence_N[place], right_N[place] = p_C.max(), float(p_C.argmax() == gold)
        brier_N[place] = ((p_C - np.eye(len(p_C))[gold]) ** 2).sum()
    bin_N = np.minimum((confidence_N * BINS).astype(int), BINS - 1)
    gaps = [abs((right_N[bin_N == n] - confidence_N[bin_N == n]).sum()) for n in range(BINS)]
    return {"ece": float(sum(gaps) / len(pairs)), "ece_bins": BINS, "brier": float(brier_N.mean())}
