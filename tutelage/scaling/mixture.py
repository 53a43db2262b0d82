"""The mixture of a large run, chosen by small runs that repeat their data as often.

A small run sees a scarce source once where the large run repeats it, so the best mixture of small runs takes too much
of it (arXiv 2606.07597). `matched_unique` says how much of each source a small run may read.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tutelage.scaling.fit import BOOTSTRAPS, Interval, interval

_CANDIDATES = 20_000


@dataclass(frozen=True, slots=True)
class Mixture:
    """The best shares with their intervals, and the predicted loss there.

    tokenizer: what the tokens were counted with; shares of tokens hold for no other.
    at_edge:   sources whose best share is the lowest or the highest of the runs: extend the runs there.
    """

    shares: dict[str, Interval]
    loss: float
    tokenizer: str
    at_edge: list[str]


def matched_unique(unique: float, tokens: float, target_tokens: float) -> float:
    """How many different tokens of a source a run of `tokens` may read, so that it repeats them as often as the run of
    `target_tokens` repeats all `unique` ones, at the same share."""
    return unique * tokens / target_tokens


def choose_mixture(
    names: list[str],
    shares: np.ndarray,
    losses: np.ndarray,
    tokenizer: str,
    bootstraps: int = BOOTSTRAPS,
    seed: int = 0,
) -> Mixture:
    """The mixture of the lowest loss by a fit L = c + sum_s (a_s log r_s + b_s r_s) to the better half of small runs,
    since the form is that of the loss near its minimum.

    shares: float64 [runs, sources], each above 0, with a sum of 1 in a run. The best mixture is sought within the
            lowest and highest share of each source in that half.

    Raises:
        ValueError: shares that are no mixtures, or fewer runs than constants.
    """
    runs, sources = shares.shape
    if sources != len(names) or (shares <= 0).any() or not np.allclose(shares.sum(1), 1, atol=1e-6):
        raise ValueError(f"the shares of {', '.join(names)} must be above 0 and add up to 1 in each run")
    if runs <= 2 * sources:
        raise ValueError(
            f"{runs} runs do not determine a mixture of {sources} sources; train at least {2 * sources + 1}"
        )
    better = np.argsort(losses, kind="stable")[: max(2 * sources + 1, (runs + 1) // 2)]
    shares, losses, runs = shares[better], losses[better], len(better)
    rng = np.random.default_rng(seed)
    low, high = shares.min(0), shares.max(0)
    drawn = rng.dirichlet(np.ones(sources), _CANDIDATES)
    candidates = drawn[((drawn >= low) & (drawn <= high)).all(1)]
    candidates = np.concatenate([shares, candidates])
    design, grid = _features(shares), _features(candidates)
    solve = np.linalg.pinv(design)
    fitted = design @ (solve @ losses)
    residuals = (losses - fitted) * np.sqrt(runs / (runs - 2 * sources))
    again = (fitted + residuals[rng.integers(runs, size=(bootstraps, runs))]) @ solve.T
    best = int((grid @ (solve @ losses)).argmin())
    draws = candidates[np.array([int((grid @ constants).argmin()) for constants in again])]
    found = {name: interval(float(candidates[best, s]), draws[:, s]) for s, name in enumerate(names)}
    margin = 0.01 * (high - low)
    edge = (candidates[best] <= low + margin) | (candidates[best] >= high - margin)
    at_edge = [name for name, is_edge in zip(names, edge, strict=True) if is_edge]
    return Mixture(found, float((grid @ (solve @ losses))[best]), tokenizer, at_edge)


def _features(shares: np.ndarray) -> np.ndarray:
    """Columns of the fit: 1, log of each share, and all shares but the last, which follows from the others."""
    return np.concatenate([np.ones((len(shares), 1)), np.log(shares), shares[:, :-1]], axis=1)
