"""How often one of k samples, or each of them, is right; without bias from n samples."""

from __future__ import annotations

from math import comb


def pass_at_k(samples: int, right: int, k: int) -> float:
    """The probability that at least one of `k` samples is right, where `right` of `samples` were: 1 - C(n-c, k) / C(n,
    k), without bias (Chen et al. 2021, arXiv 2107.03374, equation 1). ValueError for more than there are samples."""
    _check(samples, right, k)
    return 1 - comb(samples - right, k) / comb(samples, k)


def pass_hat_k(samples: int, right: int, k: int) -> float:
    """The probability that all of `k` samples are right: C(c, k) / C(n, k) (tau-bench, Yao et al. 2024, arXiv
    2406.12045, "pass^k"). ValueError for more than there are samples."""
    _check(samples, right, k)
    return comb(right, k) / comb(samples, k)


def _check(samples: int, right: int, k: int) -> None:
    if not 0 <= right <= samples:
        raise ValueError(f"{right} of {samples} samples cannot be right")
    if not 1 <= k <= samples:
        raise ValueError(f"k is {k}, but there are {samples} samples of the problem: draw more, or lower k")
