"""Learning rate and batch size against size: optima of sweeps, a power law through them, and published laws."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from tutelage.scaling.fit import BOOTSTRAPS, Interval, decades_beyond, interval
from tutelage.scaling.parabola import LEAST_POINTS, Parabola, fit_parabola, near_lowest, power_through


@dataclass(frozen=True, slots=True)
class PublishedLaw:
    """Published laws of the learning rate and of the batch in tokens; N without embeddings. None: no such law.

    lr:    of N, D, width and batch tokens.
    batch: of N and D.
    """

    source: str
    lr: Callable[[float, float, float, float], float] | None = None
    batch: Callable[[float, float], float] | None = None


PUBLISHED = {
    # C counts 6 x parameters without embeddings x tokens.
    "DeepSeek LLM": PublishedLaw(
        "Bi et al. 2024, arXiv 2401.02954, equation 1",
        lr=lambda n, d, width, batch: 0.3118 * (6 * n * d) ** -0.1250,
        batch=lambda n, d: 0.2920 * (6 * n * d) ** 0.3271,
    ),
    "Step Law": PublishedLaw(
        "Li et al. 2025, arXiv 2503.04715, equation 1",
        lr=lambda n, d, width, batch: 1.79 * n**-0.713 * d**0.307,
        batch=lambda n, d: 0.58 * d**0.571,
    ),
    "marin": PublishedLaw(
        "marin-community/marin, issue 6074",
        lr=lambda n, d, width, batch: 0.06602 * d**-0.395 * width**-0.150 * math.sqrt(batch),
    ),
}


@dataclass(frozen=True, eq=False, slots=True)
class SweepCurve:
    """A sweep: values of the setting and losses, [S] each, the parabola through those near the best one, and the best
    value. Where that is not `parabola.inside`, it is an extrapolation."""

    values: np.ndarray
    losses: np.ndarray
    parabola: Parabola
    optimum: Interval


@dataclass(frozen=True, eq=False, slots=True)
class SettingLaw:
    """setting = exp(intercept) x^exponent through the optima of sweeps, by x; draws float64 [R]."""

    exponent: Interval
    curves: dict[float, SweepCurve]
    intercept: float
    intercept_draws: np.ndarray
    exponent_draws: np.ndarray

    def at(self, x: float) -> tuple[Interval, float]:
        """The setting at x with its interval, and the decades between x and the sweeps."""
        value = math.exp(self.intercept) * x**self.exponent.value
        draws = np.exp(self.intercept_draws + self.exponent_draws * math.log(x))
        return interval(value, draws), decades_beyond(x, min(self.curves), max(self.curves))


def lr_band(parameters: float, tokens: float, width: float, batch_tokens: float) -> dict[str, float]:
    """The learning rate of every published law. They differ by a factor of 2 at 1B parameters and 100B tokens: a band,
    never one value."""
    laws = {name: law.lr for name, law in PUBLISHED.items() if law.lr is not None}
    return {name: lr(parameters, tokens, width, batch_tokens) for name, lr in laws.items()}


def batch_band(parameters: float, tokens: float) -> dict[str, float]:
    """The batch in tokens of every published law."""
    laws = {name: law.batch for name, law in PUBLISHED.items() if law.batch is not None}
    return {name: batch(parameters, tokens) for name, batch in laws.items()}


def scaled_settings(lr: float, batch_tokens: float, tokens: float, new_tokens: float) -> tuple[float, float]:
    """Learning rate and batch for another number of tokens, from a reference run: batch ~ D^0.383 (Bergsma et al. 2025,
    arXiv 2505.13738) rounded to a power of two, lr ~ sqrt(batch)."""
    batch = 2.0 ** round(math.log2(batch_tokens * (new_tokens / tokens) ** 0.383))
    return lr * math.sqrt(batch / batch_tokens), batch


def scaled_decay(decay: float, batch_tokens: float, tokens: float, new_batch: float, new_tokens: float) -> float:
    """Weight decay for another batch and number of tokens, from a reference run: decay ~ sqrt(batch) / D, which keeps
    AdamW's averaging over the same share of the training (Wang and Aitchison 2024, arXiv 2405.13698)."""
    return decay * math.sqrt(new_batch / batch_tokens) * tokens / new_tokens


def fit_setting(
    sweeps: Mapping[float, tuple[np.ndarray, np.ndarray]], bootstraps: int = BOOTSTRAPS, seed: int = 0
) -> SettingLaw:
    """A power law through the optima of sweeps: for each x the values of the setting and the losses, [S] each.

    Each optimum is the minimum of a parabola in the logarithm of the setting through the values near the best one
    (`near_lowest`); residuals are drawn again for the intervals.

    Raises:
        ValueError: fewer than two sweeps, a sweep of fewer than 4 values, or a sweep without a minimum.
    """
    if len(sweeps) < 2:
        raise ValueError(f"{len(sweeps)} sweeps do not determine a law; sweep the setting at two sizes or more")
    rng = np.random.default_rng(seed)
    curves = {}
    for x, (values, losses) in sorted(sweeps.items()):
        if len(np.unique(values)) < LEAST_POINTS:
            raise ValueError(f"the sweep at {x:g} has {len(np.unique(values))} values; sweep at least {LEAST_POINTS}")
        log, loss = np.log(values), np.asarray(losses, np.float64)
        near = near_lowest(log, loss)
        parabola = fit_parabola(log[near], loss[near], bootstraps, rng)
        if parabola is None:
            raise ValueError(f"the sweep at {x:g} has no minimum; sweep lower and higher values")
        optimum = interval(math.exp(parabola.minimum), np.exp(parabola.draws))
        curves[x] = SweepCurve(values, loss, parabola, optimum)
    sizes = np.array(list(curves))
    exponent, intercept = power_through(sizes, np.array([curve.parabola.minimum for curve in curves.values()]))
    exponents, intercepts = power_through(sizes, np.array([curve.parabola.draws for curve in curves.values()]))
    return SettingLaw(interval(float(exponent), exponents), curves, float(intercept), intercepts, exponents)
