"""Reward hacking: how the gold reward moves while a proxy is optimised, and where to stop.

The distance from the initial policy is d = sqrt(KL). Gao, Schulman and Hilton 2022 (arXiv 2210.10760, Eqs. 1 and 2)
find R = d (alpha - beta d) for best-of-n and R = d (alpha - beta log d) for reinforcement learning. This is an audit of
what happened, with the gold reward at hand; it is no early warning.

Shape suffixes: P prompts, N samples of each, C points of a curve.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from tutelage.intervals import Z_95, mean_interval

CurveKind = Literal["best_of_n", "rl"]


def kl_best_of_n(n: int) -> float:
    """KL(best-of-n || policy) = log n - (n - 1) / n, in nats: exact where no two samples tie (arXiv 2210.10760,
    section 2)."""
    return math.log(n) - (n - 1) / n


def best_of_n(proxy_PN: np.ndarray, gold_PN: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The expected proxy and gold reward of the best of n by the proxy, for each prompt, [P] each.

    Unbiased from N >= n samples: the i-th lowest is the best of C(i - 1, n - 1) of the C(N, n) subsets (arXiv
    2210.10760, appendix I; Nakano et al. 2021). Samples with one proxy share their mean gold.
    """
    samples = proxy_PN.shape[1]
    assert proxy_PN.shape == gold_PN.shape and 1 <= n <= samples
    weights_N = np.array([math.comb(i, n - 1) / math.comb(samples, n) for i in range(samples)])
    order_PN = np.argsort(proxy_PN, axis=1, kind="stable")
    proxy_PN = np.take_along_axis(proxy_PN, order_PN, 1)
    gold_PN = np.stack([_share(*row) for row in zip(proxy_PN, np.take_along_axis(gold_PN, order_PN, 1), strict=True)])
    return proxy_PN @ weights_N, gold_PN @ weights_N


def _share(proxy_N: np.ndarray, gold_N: np.ndarray) -> np.ndarray:
    """The gold rewards, of samples with one proxy their mean."""
    _, place_N = np.unique(proxy_N, return_inverse=True)
    return (np.bincount(place_N, gold_N) / np.bincount(place_N))[place_N]


class Fit(NamedTuple):
    """A curve of Gao et al. with its peak. `peak` and `peak_d` are None where it never falls (beta <= 0) or never
    rises."""

    kind: CurveKind
    alpha: float
    beta: float
    peak_d: float | None
    peak: float | None
    r_squared: float

    def __call__(self, d_C: np.ndarray) -> np.ndarray:
        """The fitted gain at distances d, 0 at d = 0."""
        return _basis(self.kind, d_C) @ np.array([self.alpha, self.beta])


def _basis(kind: CurveKind, d_C: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        bend_C = d_C * d_C if kind == "best_of_n" else np.where(d_C > 0, d_C * np.log(d_C), 0.0)
    return np.stack([d_C, -bend_C], axis=1)


def fit_curve(kind: CurveKind, d_C: np.ndarray, gain_C: np.ndarray) -> Fit | None:
    """Least squares for alpha and beta; both curves are linear in them. `gain_C` is the reward minus that of the
    initial policy. None for fewer than 3 points with d > 0.

    The peak is at d = alpha / 2 beta with alpha^2 / 4 beta for best-of-n, at d = exp(alpha / beta - 1) with beta d for
    reinforcement learning.
    """
    moved = d_C > 0
    if moved.sum() < 3:
        return None
    d_C, gain_C = d_C[moved], gain_C[moved]
    basis = _basis(kind, d_C)
    (alpha, beta), *_ = np.linalg.lstsq(basis, gain_C, rcond=None)
    spread = float(((gain_C - gain_C.mean()) ** 2).sum())
    r_squared = 1 - float(((basis @ [alpha, beta] - gain_C) ** 2).sum()) / spread if spread else 0.0
    peak_d = peak = None
    if beta > 0 and kind == "best_of_n" and alpha > 0:
        peak_d, peak = alpha / (2 * beta), alpha**2 / (4 * beta)
    elif beta > 0 and kind == "rl" and alpha / beta - 1 < 50:  # beyond that no run gets there
        peak_d = math.exp(alpha / beta - 1)
        peak = beta * peak_d
    return Fit(kind, float(alpha), float(beta), _plain(peak_d), _plain(peak), r_squared)


def _plain(value: float | None) -> float | None:
    return None if value is None else float(value)


@dataclass(frozen=True)
class CurvePoint:
    """A policy on the way: its name ("n = 4", "step 200"), its KL from the initial one, and per prompt the mean proxy
    and gold reward, [P] each."""

    name: str
    kl: float
    proxy_P: np.ndarray
    gold_P: np.ndarray

    @property
    def d(self) -> float:
        """sqrt(KL); a KL that sampling made negative counts as 0."""
        return math.sqrt(max(0.0, self.kl))


class Verdict(NamedTuple):
    """Where to stop: the point with the highest gold, whether the gold of the last one is surely below it, and whether
    that is overoptimisation."""

    best: int
    gold_fell: bool
    overoptimised: bool
    sentence: str


def stop_here(points: Sequence[CurvePoint]) -> Verdict:
    """The point with the highest mean gold. Gold fell where the last point is below it and the paired 95% interval of
    the difference excludes 0; that is overoptimisation where the proxy did not fall too. The best of many points is
    flattered by its own noise; so is the difference."""
    best = max(range(len(points)), key=lambda place: points[place].gold_P.mean())
    change = mean_interval(points[-1].gold_P - points[best].gold_P)
    proxy = float((points[-1].proxy_P - points[best].proxy_P).mean())
    if best < len(points) - 1 and change["high"] < 0:
        moved = f"from there the proxy changes by {proxy:+.2f} and gold by {change['mean']:+.2f}"
        interval = f"({change['low']:+.2f} to {change['high']:+.2f})"
        both = "" if proxy >= 0 else "; both fall, so it is no overoptimisation: lower the learning rate"
        stop = f"stop at {points[best].name}, sqrt(KL) = {points[best].d:.2f}: {moved} {interval}{both}"
        return Verdict(best, True, proxy >= 0, stop)
    reason = "gold is highest at the last point" if best == len(points) - 1 else "what follows does not differ surely"
    return Verdict(best, False, False, f"no overoptimisation is shown: {reason}")


def curve_figures(kind: CurveKind, points: Sequence[CurvePoint]) -> dict[str, Any]:
    """What a report shows of a curve, as plain data: its points, fits of gold and proxy, and the verdict. The first
    point is the initial policy, from which gains are counted, prompt by prompt; there are at least two prompts."""
    first = points[0]
    rows: list[dict[str, Any]] = []
    for point in points:
        gains = {
            "proxy": mean_interval(point.proxy_P - first.proxy_P),
            "gold": mean_interval(point.gold_P - first.gold_P),
        }
        levels = {"proxy": float(point.proxy_P.mean()), "gold": float(point.gold_P.mean())}
        rows.append({"name": point.name, "kl": point.kl, "d": point.d, "gain": gains, **levels})
    d_C = np.array([point.d for point in points])
    fits: dict[str, Any] = {}
    for name in ("gold", "proxy"):
        fitted = fit_curve(kind, d_C, np.array([row["gain"][name]["mean"] for row in rows]))
        fits[name] = None if fitted is None else fitted._asdict()
    verdict = stop_here(points)
    return {"kind": kind, "points": rows, "fit": fits, "verdict": verdict._asdict()}


def length_figures(reward: np.ndarray, words: np.ndarray, prompt: np.ndarray) -> dict[str, Any]:
    """Reward against length within prompts: the slope per 10 words with its 95% interval, and the correlation; all
    [answers]. A reward that pays for length has a slope above 0."""
    reward, words = _centred(reward, prompt), _centred(words, prompt) / 10
    spread = float((words**2).sum())
    if spread == 0:
        return {"slope": None, "correlation": None}
    slope = float((words * reward).sum()) / spread
    error = math.sqrt(float(((words * (reward - slope * words)) ** 2).sum())) / spread  # White 1980
    total = math.sqrt(spread * float((reward**2).sum()))
    correlation = float((words * reward).sum()) / total if total else None
    return {
        "slope": {"mean": slope, "low": slope - Z_95 * error, "high": slope + Z_95 * error},
        "correlation": correlation,
    }


def _centred(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    _, place = np.unique(group, return_inverse=True)
    return values - (np.bincount(place, values) / np.bincount(place))[place]


def suspicious_samples(rows: Sequence[Mapping[str, Any]], count: int) -> list[dict[str, Any]]:
    """The `count` rows that the proxy likes most and gold least: by z-score of "proxy" minus z-score of "gold", which
    is added as "gap"; the highest first."""
    if not rows:
        return []
    columns = [np.array([row[name] for row in rows], np.float64) for name in ("proxy", "gold")]
    gaps = np.subtract(*(_z_scores(column) for column in columns))
    order = np.argsort(-gaps, kind="stable")[:count]
    return [{**rows[i], "gap": float(gaps[i])} for i in order.tolist()]


def _z_scores(values: np.ndarray) -> np.ndarray:
    spread = values.std()
    return (values - values.mean()) / spread if spread else np.zeros_like(values)
