"""The value of repeated tokens."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tutelage.scaling.laws import Chinchilla, Number


class Repetition(NamedTuple):
    """A law of loss with constants of repetition: `tokens` is R_D*, `parameters` R_N* of the paper."""

    law: Chinchilla
    tokens: float
    parameters: float


# Muennighoff et al. 2023, arXiv 2305.16264, appendix A; Apache-2.0.
MUENNIGHOFF = Repetition(
    Chinchilla(np.exp(0.6254804), np.exp(6.255414), np.exp(7.3049974), 0.3526596, 0.3526596), 15.387756, 5.309743
)


def token_value(epochs: Number, half: float = MUENNIGHOFF.tokens) -> Number:
    """The worth of a token seen `epochs` times, as a fraction of that of a new one, on average over the epochs:
    (1 + R* (1 - exp(-(epochs - 1) / R*))) / epochs (equation 5)."""
    return (1 + half * (1 - np.exp((1 - np.maximum(epochs, 1.0)) / half))) / np.maximum(epochs, 1.0)


def repeated_loss(parameters: Number, tokens: Number, unique: Number, constants: Repetition = MUENNIGHOFF) -> Number:
    """The loss of a model after `tokens` of which `unique` are different (equation 6).

    Parameters beyond those that are compute-optimal for the unique tokens lose value as repeated tokens do.
    """
    law = constants.law
    unique = np.minimum(unique, tokens)
    effective_tokens = tokens * token_value(tokens / unique, constants.tokens)
    scale = (law.alpha * law.A / (law.beta * law.B)) ** (1 / (law.alpha + law.beta))
    optimal = scale ** (1 + law.beta / law.alpha) * unique ** (law.beta / law.alpha)  # N for which `unique` is optimal
    base = np.minimum(optimal, parameters)
    effective_parameters = parameters * token_value(parameters / base, constants.parameters)
    return law.loss(effective_parameters, effective_tokens)
