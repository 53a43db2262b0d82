"""Made (synthetic) text as an axis of a scaling law: what a token is worth by the share of made text in training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tutelage.scaling.fit import BOOTSTRAPS, Interval, describe, interval, solve, starts
from tutelage.scaling.points import Points

_LEAST_SHARES = 3
_GRID = 401


@dataclass(frozen=True, eq=False, slots=True)
class MadeFit:
    """A fit of L = E + A / N^alpha + B / (v(s) D)^beta, where s is the share of made text and ln v(s) = p s + q s².

    value:   by share, how many tokens without made text a token is worth, v(s).
    best:    the share of the largest value, within the shares of the points; `at_edge` if it is the largest of them.
    at_best: the value there: a loss is reached with so many times fewer tokens.
    """

    value: dict[float, Interval]
    best: Interval
    at_best: Interval
    at_edge: bool
    beta: Interval
    converged: bool
    points: Points

    def to_plain(self) -> dict[str, Any]:
        """The result as plain data."""
        return {
            "law": "L = E + A / N^alpha + B / (v(s) D)^beta, ln v(s) = p s + q s^2",
            "value": {f"{share:g}": found for share, found in self.value.items()},
            "best_share": self.best,
            "value_at_best": self.at_best,
            "at_edge": self.at_edge,
            "beta": self.beta,
            "converged": self.converged,
            **describe(self.points),
        }


def fit_made(points: Points, bootstraps: int = BOOTSTRAPS, seed: int = 0) -> MadeFit:
    """Fit the value of made text to points with several shares of it, as `fit_chinchilla`; without the term of N where
    there are fewer than 3 sizes. Loss is that of text that is not made (after Kang et al. 2025, who compare mixtures by
    the tokens that reach a loss).

    Raises:
        ValueError: the points do not determine the constants, or their loss does not fall with tokens.
    """
    assert points.made is not None
    made, shares = points.made, np.unique(points.made)
    with_sizes = len(np.unique(points.parameters)) >= 3
    needed = 8 if with_sizes else 6
    if len(shares) < _LEAST_SHARES or shares[0] != 0 or len(np.unique(points.tokens)) < 3 or len(points) < needed:
        raise ValueError(
            f"{len(points)} points with {len(shares)} shares of made text from {shares[0]:g} do not determine its "
            f"value; train at least {needed} models with share 0 and two others, and 3 numbers of tokens"
        )
    log_n, log_d = np.log(points.parameters), np.log(points.tokens)
    first = 3 if with_sizes else 1  # the constants of E and of the term of N come before those of D: b, beta, p, q
    features_PKM = np.zeros((len(points), 2 + with_sizes, first + 4))
    features_PKM[:, 0, 0] = features_PKM[:, -1, first] = 1
    features_PKM[:, -1, first + 1] = log_d.mean() - log_d
    features_PKM[:, -1, first + 2], features_PKM[:, -1, first + 3] = made, made**2
    if with_sizes:
        features_PKM[:, 1, 1], features_PKM[:, 1, 2] = 1, log_n.mean() - log_n
    starts_BM = np.pad(starts(points.loss, 1 + with_sizes), ((0, 0), (0, 2)))
    best, again, _, _ = solve(features_PKM, np.log(points.loss), starts_BM, bootstraps, seed)
    beta = float(best.parameters_BM[0, first + 1])
    if beta <= 0:
        raise ValueError("the loss of these points does not fall with tokens; train models for longer")
    grid = np.linspace(0, shares[-1], _GRID)

    def values(parameters_BM: np.ndarray, at: np.ndarray) -> np.ndarray:
        beta_B1, p_B1, q_B1 = np.split(parameters_BM[:, first + 1 :], 3, axis=1)
        with np.errstate(all="ignore"):  # an exponent near 0 in a draw
            return np.exp(-(p_B1 * at + q_B1 * at**2) / beta_B1)

    single, drawn = values(best.parameters_BM, grid)[0], values(again.parameters_BM, grid)
    place = int(single.argmax())
    draws = grid[drawn.argmax(axis=1)]
    tried = values(best.parameters_BM, shares)[0], values(again.parameters_BM, shares)
    return MadeFit(
        {float(share): interval(float(tried[0][s]), tried[1][:, s]) for s, share in enumerate(shares)},
        interval(float(grid[place]), draws),
        interval(float(single[place]), drawn.max(axis=1)),
        place == len(grid) - 1,
        interval(beta, again.parameters_BM[:, first + 1]),
        bool(best.converged_B[0] and again.converged_B.all()),
        points,
    )
