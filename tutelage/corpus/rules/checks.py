"""Shared by rules with thresholds: a document is dropped for the first limit it breaks, with the figure as detail."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tutelage.corpus.batch import DocumentBatch


class Check(NamedTuple):
    """A threshold rule. `broken`, bool[N]: the documents to drop for `reason`. `figures`, [N]: the measured values."""

    reason: str
    broken: np.ndarray
    figures: np.ndarray


def above(reason: str, figures: np.ndarray, limit: float | None) -> Check:
    """Broken if the figure is above the limit; never if the limit is None."""
    return Check(reason, np.zeros(len(figures), bool) if limit is None else figures > limit, figures)


def below(reason: str, figures: np.ndarray, limit: float | None) -> Check:
    """Broken if the figure is below the limit; never if the limit is None."""
    return Check(reason, np.zeros(len(figures), bool) if limit is None else figures < limit, figures)


def drop_broken(batch: DocumentBatch, checks: list[Check]) -> None:
    """Drop every document that breaks a check, for the first check that it breaks."""
    number = np.argmax([*(check.broken for check in checks), np.ones(len(batch), bool)], axis=0)
    gone = np.flatnonzero(number < len(checks))
    if len(gone):
        broken = [checks[i] for i in number[gone].tolist()]
        details = [f"{float(check.figures[place]):.4g}" for check, place in zip(broken, gone.tolist(), strict=True)]
        batch.drop(gone, [check.reason for check in broken], details)


def shares(parts: np.ndarray, wholes: np.ndarray) -> np.ndarray:
    """parts / wholes, float64[N]; 0 if the whole is 0."""
    return np.divide(parts, wholes, out=np.zeros(len(parts)), where=wholes > 0)
