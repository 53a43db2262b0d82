"""The minimum of a parabola in a logarithm, with bootstrap draws, and powers through minima: for isoFLOP curves and
sweeps of a setting."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

LEAST_POINTS = 4  # so that a residual is left
_NEAR = math.log(4.0)


class Parabola(NamedTuple):
    """loss = c0 + c1 u + c2 u², u = log - centre: coefficients float64 [3], the place of the minimum, that of every
    draw, float64 [R], and whether the minimum lies within the points."""

    coefficients: np.ndarray
    centre: float
    minimum: float
    draws: np.ndarray
    inside: bool

    def at(self, log: np.ndarray) -> np.ndarray:
        """The fitted loss, float64 as `log`."""
        return np.polynomial.polynomial.polyval(log - self.centre, self.coefficients)


def fit_parabola(log: np.ndarray, loss: np.ndarray, bootstraps: int, rng: np.random.Generator) -> Parabola | None:
    """The least-squares parabola through points [P], at least 4; None if it has no minimum.

    Each draw adds residuals, drawn again and scaled by the degrees of freedom, to the fitted loss. A draw without a
    minimum has its lowest loss at an edge of the points, and that edge is its minimum.
    """
    centre, count = float(log.mean()), len(log)
    design = np.vander(log - centre, 3, increasing=True)
    solve = np.linalg.pinv(design)
    coefficients = solve @ loss
    if coefficients[2] <= 0:
        return None
    fitted = design @ coefficients
    residuals = (loss - fitted) * math.sqrt(count / (count - 3))
    again = (fitted + residuals[rng.integers(count, size=(bootstraps, count))]) @ solve.T
    edges = log[np.argmin(again @ design.T, axis=1)]
    with np.errstate(all="ignore"):
        draws = np.where(again[:, 2] > 0, centre - again[:, 1] / (2 * again[:, 2]), edges)
    minimum = centre - coefficients[1] / (2 * coefficients[2])
    return Parabola(coefficients, centre, float(minimum), draws, bool(log.min() <= minimum <= log.max()))


def near_lowest(log: np.ndarray, loss: np.ndarray) -> np.ndarray:
    """Which points of a sweep [P] lie within a factor of 4 of the value with the lowest mean loss, or at least 4
    values: bool [P]. A sweep of learning rates is a parabola only there: beyond, training diverges and the loss
    is flat, which moves the minimum of a parabola through all points to an edge."""
    values = np.unique(log)
    means = np.array([loss[log == value].mean() for value in values])
    lowest = values[means.argmin()]
    nearest = np.sort(np.abs(values - lowest))[:LEAST_POINTS]
    return np.abs(log - lowest) <= max(_NEAR, nearest[-1]) + 1e-9


def power_through(x: np.ndarray, log_y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Exponent and intercept of log y = intercept + exponent log x by least squares; `log_y` is [P], or [P, R] for as
    many results."""
    exponent, intercept = np.polyfit(np.log(x), log_y, 1)
    return exponent, intercept
