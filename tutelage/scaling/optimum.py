"""What a law of loss recommends: compute-optimal sizes, the price of over-training, sizes for a served model."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tutelage.scaling.laws import Chinchilla, Number

_GOLDEN = (np.sqrt(5) - 1) / 2


class Allocation(NamedTuple):
    """A number of parameters and of tokens; numbers, or arrays with one for each draw."""

    parameters: Number
    tokens: Number


def compute_optimal(law: Chinchilla, compute: Number) -> Allocation:
    """N and D of the lowest loss with C = 6 N D: N = G (C/6)^(beta / (alpha + beta)), with G = (alpha A / (beta
    B))^(1 / (alpha + beta)) (Hoffmann et al. 2022, arXiv 2203.15556, equation 4)."""
    total = law.alpha + law.beta
    scale = (law.alpha * law.A / (law.beta * law.B)) ** (1 / total)
    parameters = scale * (compute / 6) ** (law.beta / total)
    return Allocation(parameters, compute / 6 / parameters)


def tokens_per_parameter(law: Chinchilla, compute: Number) -> Number:
    """D / N of the compute-optimal model."""
    allocation = compute_optimal(law, compute)
    return allocation.tokens / allocation.parameters


def least_compute(law: Chinchilla, loss: Number) -> Number:
    """The training FLOPs of the compute-optimal model of a loss; infinite for a loss of E or less."""
    optimum = compute_optimal(law, 6.0)
    reducible = law.loss(optimum.parameters, optimum.tokens) - law.E
    wanted = np.maximum(loss - law.E, 0.0)
    with np.errstate(divide="ignore"):
        return 6 * (reducible / wanted) ** ((law.alpha + law.beta) / (law.alpha * law.beta))


def overtraining_cost(law: Chinchilla, parameters: float, tokens: float) -> Number:
    """The compute of N and D as a multiple of the least compute that reaches their loss."""
    return 6 * parameters * tokens / least_compute(law, law.loss(parameters, tokens))


def inference_optimal(law: Chinchilla, loss: float, served_tokens: float) -> Allocation:
    """N and D that reach a loss with the fewest FLOPs of training and of serving, 6 N D + 2 N `served_tokens` (Sardana
    et al. 2024, arXiv 2401.00448, equation 3).

    Raises:
        ValueError: no model reaches the loss.
    """
    if not np.all(np.asarray(loss) > law.E):
        raise ValueError(
            f"by this law no model reaches a loss of {loss:g}: E is {np.max(law.E):.4g}; give a higher loss"
        )
    least = np.log(law.A / (loss - law.E)) / law.alpha  # log N of a model with unlimited tokens
    optimum = np.log(compute_optimal(law, least_compute(law, loss)).parameters)

    def tokens(log_parameters: Number) -> Number:
        rest = loss - law.E - law.A * np.exp(-law.alpha * log_parameters)
        return (law.B / np.maximum(rest, 1e-300)) ** (1 / law.beta)

    def flops(log_parameters: Number) -> Number:
        return np.exp(log_parameters) * (6 * tokens(log_parameters) + 2 * served_tokens)

    low, high = least + 1e-9, optimum  # serving moves the optimum to smaller models only
    for _ in range(100):
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        smaller = flops(left) < flops(right)
        low, high = np.where(smaller, low, left), np.where(smaller, right, high)
    middle = (low + high) / 2
    return Allocation(np.exp(middle), tokens(middle))
