"""The win rate of one model over another from preferences over the same prompts: raw, and controlled for length.

A preference is the share of a prompt that the model wins: 1, 0, 0.5 for a tie, or what a soft judge gives.
Shapes: N prompts.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

import numpy as np

from tutelage.evaluate.logistic import fit_logistic, sigmoid

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")
Other = TypeVar("Other")


def aligned(
    first: Mapping[Key, Value], second: Mapping[Key, Other], names: tuple[str, str] = ("the first", "the second")
) -> list[tuple[Key, Value, Other]]:
    """The pairs of two tables, in the order of the first.

    Raises:
        ValueError: a key is in one table alone; the message names a few.
    """
    for one, other, lacking in ((first, second, names[1]), (second, first, names[0])):
        if missing := [key for key in one if key not in other]:
            shown = ", ".join(repr(str(key)[:60]) for key in missing[:3])
            raise ValueError(
                f"{lacking} lacks {len(missing)} of {len(one)} prompts, such as {shown}; add them, or remove them from "
                "both: rows that are paired by number alone compare answers to different prompts"
            )
    return [(key, value, second[key]) for key, value in first.items()]


def length_controlled(share_N: np.ndarray, length_N: np.ndarray, baseline_length_N: np.ndarray) -> float | None:
    """The win rate that answers of equal length would have: sigmoid(intercept) of a logistic fit on the intercept and
    tanh(difference of lengths / its standard deviation), after Dubois et al. 2024, arXiv 2404.04475, equation 1,
    without its difficulty of instructions.

    None where the fit has no finite optimum: one model wins everything, or all preferences follow the length.
    """
    difference_N = (length_N - baseline_length_N).astype(float)
    spread = difference_N.std()
    feature_N = np.tanh(difference_N / spread) if spread > 0 else np.zeros(len(share_N))
    if _is_separated(share_N, feature_N):
        return None
    columns = [np.ones(len(share_N))] + ([feature_N] if spread > 0 else [])
    return float(sigmoid(fit_logistic(np.stack(columns, 1), share_N)[0]))


def _is_separated(share_N: np.ndarray, feature_N: np.ndarray) -> bool:
    """Whether some threshold on the feature tells all wins from all losses."""
    won_N, lost_N = feature_N[share_N > 0], feature_N[share_N < 1]
    if not len(won_N) or not len(lost_N):
        return True
    return bool(won_N.min() >= lost_N.max() or lost_N.min() >= won_N.max())


def controlled_win_rate(intercept: float, difficulty_weight: float, difficulty_N: np.ndarray) -> float:
    """AlpacaEval 2's length-controlled win rate from the fitted weights of a model: the mean of sigmoid(intercept +
    difficulty_weight * difficulty), with the term for length at 0 (Dubois et al. 2024, arXiv 2404.04475)."""
    return float(sigmoid(intercept + difficulty_weight * difficulty_N).mean())
