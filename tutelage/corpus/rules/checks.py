"""What rules on figures share: a document is dropped for the first limit it breaks, with the figure as the detail."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tutelage.corpus.batch import DocumentBatch


class Check(NamedTuple):
    """A rule on one figure: those of `broken`, bool[N], go for `reason`; `figures` [N] is what was measured."""

    reason: str
    broken: np.ndarray
    figures: np.ndarray


def above(reason: str, figures: np.ndarray, limit: float | None) -> Check:
    """Breaks where the figure is above the limit; never where that is None."""
    return Check(reason, np.zeros(len(figures), bool) if limit is None else figures > limit, figures)


def below(reason: str, figures: np.ndarray, limit: float | None) -> Check:
    """Breaks where the figure is below the limit; never where that is None."""
    return Check(reason, np.zeros(len(figures), bool) if limit is None else figures < limit, figures)


def drop_broken(batch: DocumentBatch, checks: list[Check]) -> None:
    """Drops every document that breaks a check, for the first one that it breaks."""
    number = np.argmax([*(check.broken for check in checks), np.ones(len(batch), bool)], axis=0)
    gone = np.flatnonzero(number < len(checks))
    if len(gone):
        broken = [checks[i] for i in number[gone].tolist()]
        details = [f"{float(check.figures[place]):.4g}" for check, place in zip(broken, gone.tolist(), strict=True)]
        batch.drop(gone, [check.reason for check in broken], details)


def shares(parts: np.ndarray, wholes: np.ndarray) -> np.ndarray:
    """parts / wholes, float64[N]; 0 where there is nothing to take a share of."""
    return np.divide(parts, wholes, out=np.zeros(len(parts)), where=wholes > 0)
