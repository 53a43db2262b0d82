"""Chinchilla's law of loss, and published constants."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

Number = float | np.ndarray


class Chinchilla(NamedTuple):
    """Constants of L(N, D) = E + A / N^alpha + B / D^beta, nats per token (Hoffmann et al. 2022, arXiv 2203.15556,
    section 3.3); numbers, or arrays of bootstrap draws."""

    E: Number
    A: Number
    B: Number
    alpha: Number
    beta: Number

    def loss(self, parameters: Number, tokens: Number) -> Number:
        """The loss of a model of `parameters` after `tokens`."""
        return self.E + self.A * np.power(parameters, -1.0 * self.alpha) + self.B * np.power(tokens, -1.0 * self.beta)


# The same fit, as printed in the paper and as in its TeX source: two digits of an exponent are too few to extrapolate.
HOFFMANN_PRINTED = Chinchilla(1.69, 406.4, 410.7, 0.34, 0.28)
HOFFMANN_TEX = Chinchilla(1.6934, 406.4, 410.7, 0.3392, 0.2849)
# Besiroglu et al. 2024, arXiv 2404.10102: 240 points read from Hoffmann's figure.
BESIROGLU = Chinchilla(1.8172, 482.01, 2085.43, 0.3478, 0.3658)


class PowerLaw(NamedTuple):
    """L(X) = (scale / X)^exponent (Kaplan et al. 2020, arXiv 2001.08361, section 1.2)."""

    scale: Number
    exponent: Number

    def loss(self, x: Number) -> Number:
        """The loss at X."""
        return np.power(self.scale / x, self.exponent)


PF_DAY = 1e15 * 86_400
# X: parameters without embeddings, tokens, and FLOPs of the least compute that reaches a loss.
KAPLAN = {
    "parameters": PowerLaw(8.8e13, 0.076),
    "tokens": PowerLaw(5.4e13, 0.095),
    "compute": PowerLaw(3.1e8 * PF_DAY, 0.050),
}


def llama3_tokens(compute: Number) -> Number:
    """The compute-optimal tokens 0.29 C^0.53 (Llama 3, arXiv 2407.21783, section 3.2.1). As printed they give 10.5e12
    at 3.8e25 FLOPs, where the paper says 16.55e12: two digits of an exponent are too few to extrapolate."""
    return 0.29 * np.power(compute, 0.53)
