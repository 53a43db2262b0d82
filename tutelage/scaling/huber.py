"""Fits logarithms of sums of power laws by Huber loss, for many starts or bootstrap resamples at once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

DELTA = 1e-3  # of Hoffmann et al. 2022, section 3.3
_ROUNDS = 400
_TOLERANCE = 1e-13  # relative decrease of the objective below which a fit has converged
_LEAST, _MOST = 1e-9, 1e9  # bounds of the damping


class Minima(NamedTuple):
    """Fits [B]: parameters float64 [B, M], objectives float64 [B], and whether each converged, bool [B]."""

    parameters_BM: np.ndarray
    objective_B: np.ndarray
    converged_B: np.ndarray


class _Slope(NamedTuple):
    objective_B: np.ndarray
    gradient_BM: np.ndarray
    newton_BMM: np.ndarray
    majorant_BMM: np.ndarray


def huber(residual: np.ndarray, delta: float = DELTA) -> np.ndarray:
    """Huber's loss: r²/2 up to delta, delta (|r| - delta/2) beyond (Huber 1964)."""
    size = np.abs(residual)
    return np.where(size <= delta, 0.5 * residual**2, delta * (size - 0.5 * delta))


def log_sum(features_PKM: np.ndarray, parameters_BM: np.ndarray) -> np.ndarray:
    """The logarithm of the sum over terms k of exp(features · parameters): float64 [B, P]."""
    return _terms(features_PKM, parameters_BM)[0]


def minimise(
    features_PKM: np.ndarray, target_P: np.ndarray, starts_BM: np.ndarray, counts_BP: np.ndarray, delta: float = DELTA
) -> Minima:
    """Minimise sum_p counts · huber(log_sum - target) from every start.

    The loss is summed and not averaged, so that a solver's absolute tolerance does not stop it early (Besiroglu et al.
    2024, arXiv 2404.10102). Newton steps, damped by the curvature of the reweighted least squares that bound Huber's
    loss from above: a strongly damped step always decreases the objective.
    """
    best_BM, count = starts_BM.astype(np.float64), len(starts_BM)
    damping_B = np.ones(count)
    converged_B = np.zeros(count, bool)
    slope = _slope(features_PKM, target_P, best_BM, counts_BP, delta)
    objective_B = slope.objective_B.copy()
    active = np.arange(count)
    small_B = np.zeros(count, np.int64)
    for _ in range(_ROUNDS):
        step_AM = _step(slope, damping_B[active])
        tried_AM = best_BM[active] + step_AM
        tried = _slope(features_PKM, target_P, tried_AM, counts_BP[active], delta)
        better_A = tried.objective_B < objective_B[active]
        gain_A = objective_B[active] - tried.objective_B
        small_A = np.abs(gain_A) <= _TOLERANCE * objective_B[active] + 1e-300
        small_B[active] = np.where(small_A, small_B[active] + 1, 0)
        best_BM[active[better_A]] = tried_AM[better_A]
        objective_B[active[better_A]] = tried.objective_B[better_A]
        damping_B[active] = np.clip(damping_B[active] * np.where(better_A, 0.2, 8.0), _LEAST, _MOST)
        slope = _Slope(*(_chosen(better_A, new, old) for new, old in zip(tried, slope, strict=True)))
        done_A = (small_B[active] >= 2) | (damping_B[active] >= _MOST)
        converged_B[active[done_A]] = True
        active = active[~done_A]
        slope = _Slope(*(array[~done_A] for array in slope))
        if not len(active):
            break
    return Minima(best_BM, objective_B, converged_B)


def _chosen(better_A: np.ndarray, new: np.ndarray, old: np.ndarray) -> np.ndarray:
    return np.where(better_A.reshape(-1, *[1] * (new.ndim - 1)), new, old)


def _terms(features_PKM: np.ndarray, parameters_BM: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The logarithm of the sum [B, P], and the share of each term of it [B, P, K]."""
    points, terms, size = features_PKM.shape
    exponents_BPK = (parameters_BM @ features_PKM.reshape(-1, size).T).reshape(-1, points, terms)
    largest_BP1 = exponents_BPK.max(2, keepdims=True)
    shares_BPK = np.exp(exponents_BPK - largest_BP1)
    total_BP1 = shares_BPK.sum(2, keepdims=True)
    return (largest_BP1 + np.log(total_BP1))[..., 0], shares_BPK / total_BP1


def _slope(
    features_PKM: np.ndarray, target_P: np.ndarray, parameters_BM: np.ndarray, counts_BP: np.ndarray, delta: float
) -> _Slope:
    """Objective, gradient, Newton matrix and majorant."""
    points, terms, size = features_PKM.shape
    log_BP, shares_BPK = _terms(features_PKM, parameters_BM)
    residual_BP = log_BP - target_P
    jacobian_BPM = sum(shares_BPK[..., k, None] * features_PKM[:, k] for k in range(terms))
    push_BP = counts_BP * np.clip(residual_BP, -delta, delta)
    products = (features_PKM[..., :, None] * features_PKM[..., None, :]).reshape(points * terms, size * size)
    curved = (push_BP[..., None] * shares_BPK).reshape(len(log_BP), -1) @ products
    inside_BP = counts_BP * (np.abs(residual_BP) <= delta) - push_BP
    bound_BP = counts_BP * np.minimum(1.0, delta / np.maximum(np.abs(residual_BP), 1e-300))
    turned = jacobian_BPM.transpose(0, 2, 1)
    return _Slope(
        (counts_BP * huber(residual_BP, delta)).sum(1),
        (turned @ push_BP[..., None])[..., 0],
        (turned * inside_BP[:, None, :]) @ jacobian_BPM + curved.reshape(-1, size, size),
        (turned * bound_BP[:, None, :]) @ jacobian_BPM,
    )


def _step(slope: _Slope, damping_A: np.ndarray) -> np.ndarray:
    """The damped Newton step of each fit."""
    size = slope.gradient_BM.shape[1]
    diagonal = np.einsum("amm->am", slope.majorant_BMM)
    # A term that no point sees (a vanishing share) has no curvature; the floor keeps the system solvable.
    floor = 1e-12 * diagonal.max(1, keepdims=True) + 1e-200
    ridge = np.eye(size) * (1e-6 * diagonal + floor)[:, None, :]
    matrix = slope.newton_BMM + damping_A[:, None, None] * (slope.majorant_BMM + ridge)
    matrix += np.eye(size) * floor[:, None, :]
    return -np.linalg.solve(matrix, slope.gradient_BM[..., None])[..., 0]
