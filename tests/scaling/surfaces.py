"""Points on surfaces of published constants, with and without noise."""

from __future__ import annotations

import numpy as np

from tutelage.scaling.laws import Chinchilla
from tutelage.scaling.optimum import compute_optimal
from tutelage.scaling.points import Points


def surface(law: Chinchilla, sizes: int = 16, ratios: int = 15, noise: float = 0.0, seed: int = 0) -> Points:
    """Sizes from 50M to 10B with 4 to 200 tokens per parameter each; `noise` is that of the logarithm of the loss."""
    grid = np.meshgrid(np.geomspace(5e7, 1e10, sizes), np.geomspace(4, 200, ratios))
    parameters, ratio = (axis.ravel() for axis in grid)
    return points(law, parameters, parameters * ratio, noise, seed)


def isoflop_surface(law: Chinchilla, budgets: list[float], around: np.ndarray, noise: float = 0.0) -> Points:
    """At each budget models of sizes `around`, in decades from the true optimum."""
    pairs = [(float(compute_optimal(law, c).parameters) * 10**step, c) for c in budgets for step in around]
    parameters, compute = np.array(pairs).T
    return points(law, parameters, compute / 6 / parameters, noise, 0)


def points(law: Chinchilla, parameters: np.ndarray, tokens: np.ndarray, noise: float, seed: int) -> Points:
    """Points of these sizes."""
    loss = law.loss(parameters, tokens) * np.exp(noise * np.random.default_rng(seed).standard_normal(len(parameters)))
    nothing = np.full(len(parameters), np.nan)
    return Points(parameters, tokens, loss, 6 * parameters * tokens, nothing, "total", "nats", {})
