"""Figures of a stage that samples, reduced to its beginning and its end."""

from __future__ import annotations

import numpy as np

from tutelage.doctor.case import Case
from tutelage.report.read import column

TENTH = 10


def ends(case: Case, name: str) -> tuple[float, float]:
    """The mean of a figure over the first and the last tenth of the rollouts, at least one of them; 0 in a rollout that
    does not have it."""
    rows = [row for row in case.stage.log if "reward" in row]
    values = np.array([float(row.get(name) or 0.0) for row in rows] or [0.0])
    few = max(1, len(values) // TENTH)
    return float(values[:few].mean()), float(values[-few:].mean())


def late(case: Case, name: str) -> float | None:
    """The mean of a figure over the last tenth of the rollouts that have it; None where it was never logged."""
    parts = tenths(case, name)
    return float(parts[-1]) if len(parts) else None


def tenths(case: Case, name: str) -> np.ndarray:
    """The mean of a figure over each tenth of the rollouts that have it, float64; fewer parts for fewer rollouts."""
    values = column([row for row in case.stage.log if "reward" in row], name)[1]
    values = values[np.isfinite(values)]
    return np.array([part.mean() for part in np.array_split(values, min(TENTH, len(values)))] if len(values) else [])


def noise_of_tenth(case: Case, name: str) -> float:
    """The standard error of a tenth of `tenths`, from the differences of neighbouring rollouts; 0 for fewer than 3."""
    values = column([row for row in case.stage.log if "reward" in row], name)[1]
    values = values[np.isfinite(values)]
    if len(values) < 3:
        return 0.0
    return float(np.diff(values).std() / np.sqrt(2) / np.sqrt(max(1.0, len(values) / TENTH)))


def mean_of(case: Case, name: str) -> float:
    """The mean of a figure over all steps; 0 where it was never logged."""
    values = column(case.stage.log, name)[1]
    return float(values.mean()) if len(values) else 0.0


def share_words(label: str, share: float) -> str:
    """A share as evidence."""
    return f"{label}: {share:.0%}"
