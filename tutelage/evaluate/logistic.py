"""Logistic regression with shares as targets, for ratings and win rates. Shapes: N rows, O outcomes, F features."""

from __future__ import annotations

import numpy as np

_STEPS, _HALVINGS, _CLOSE = 100, 30, 1e-10


def fit_choice(features_NOF: np.ndarray, share_NO: np.ndarray, weight_N: np.ndarray) -> np.ndarray:
    """The coefficients [F] of the highest likelihood, where outcome o of a row has the probability softmax(features @
    coefficients): the conditional logit of McFadden 1974, by Newton's method. A step that makes it worse is halved.

    share_NO: how much of a row each outcome got; its sum is 1.
    weight_N: how often a row counts.

    Features that depend on each other, such as the players of a tournament, get the solution of the least norm. The
    caller makes sure that the optimum is finite.
    """
    coefficients_F = np.zeros(features_NOF.shape[-1])
    loss = _loss(features_NOF @ coefficients_F, share_NO, weight_N)
    for _ in range(_STEPS):
        chance_NO = _softmax(features_NOF @ coefficients_F)
        slope_F = np.einsum("no,nof->f", weight_N[:, None] * (share_NO - chance_NO), features_NOF)
        # The Hessian is the covariance of the features under the chances, summed over rows.
        centred_NOF = features_NOF - np.einsum("no,nof->nf", chance_NO, features_NOF)[:, None]
        scaled_NOF = centred_NOF * (weight_N[:, None] * chance_NO)[..., None]
        curve_FF = np.tensordot(centred_NOF, scaled_NOF, axes=((0, 1), (0, 1)))
        step_F = np.linalg.lstsq(curve_FF, slope_F, rcond=1e-10)[0]
        for _ in range(_HALVINGS):
            after = _loss(features_NOF @ (coefficients_F + step_F), share_NO, weight_N)
            if after <= loss + _CLOSE:
                break
            step_F /= 2
        coefficients_F, loss = coefficients_F + step_F, after
        if np.abs(step_F).max(initial=0) < _CLOSE:
            break
    return coefficients_F


def fit_logistic(features_NF: np.ndarray, share_N: np.ndarray, weight_N: np.ndarray | None = None) -> np.ndarray:
    """As `fit_choice` of two outcomes, where the share of the first has the probability sigmoid(features @
    coefficients)."""
    features_NOF = np.stack([features_NF, np.zeros_like(features_NF)], 1)
    weight_N = np.ones(len(share_N)) if weight_N is None else weight_N
    return fit_choice(features_NOF, np.stack([share_N, 1 - share_N], 1), weight_N)


def sigmoid(values: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-values)), without overflow."""
    return 0.5 * (1 + np.tanh(values / 2))


def _softmax(logits_NO: np.ndarray) -> np.ndarray:
    powers_NO = np.exp(logits_NO - logits_NO.max(1, keepdims=True))
    return powers_NO / powers_NO.sum(1, keepdims=True)


def _loss(logits_NO: np.ndarray, share_NO: np.ndarray, weight_N: np.ndarray) -> float:
    top_N = logits_NO.max(1)
    total_N = top_N + np.log(np.exp(logits_NO - top_N[:, None]).sum(1))
    return float((weight_N * (total_N - (share_NO * logits_NO).sum(1))).sum())
