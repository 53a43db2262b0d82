"""Whether two runs of one recipe took the same steps: one that was killed and restarted, and one that never was."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tutelage.report.read import read_log
from tutelage.stages.base import LOG

# What a step is known by; times and evaluations are not of the step.
FIGURES = ("loss", "gradient_norm", "lr", "tokens", "trained_tokens")


class StepDifference(NamedTuple):
    """The first step of a stage where a figure of the log differs."""

    stage: str
    step: int
    figure: str
    first: float | None
    second: float | None


def different_steps(first: Path, second: Path, tolerance: float = 0.0) -> list[StepDifference]:
    """Of each stage, the first step where the logs of two runs differ by more than `tolerance` of the figure.

    Raises:
        ValueError: the runs have no log, or not the same stages.
    """
    logs = [{path.parent.name: path for path in sorted(folder.glob(f"*/{LOG}"))} for folder in (first, second)]
    for folder, log, other in zip((first, second), logs, reversed(logs), strict=True):
        if missing := sorted(other.keys() - log.keys()):
            raise ValueError(f"{folder} has no stage '{missing[0]}', and the other run has; run it there too")
    if not logs[0]:
        raise ValueError(f"{first} holds no {LOG} of a stage; give the folders of two runs")
    found = (_first_difference(stage, path, logs[1][stage], tolerance) for stage, path in logs[0].items())
    return [difference for difference in found if difference is not None]


def _first_difference(stage: str, first: Path, second: Path, tolerance: float) -> StepDifference | None:
    mine, theirs = ({row["step"]: row for row in read_log(path)[0]} for path in (first, second))
    for step in sorted(mine.keys() | theirs.keys()):
        for figure in FIGURES:
            one, other = (row.get(step, {}).get(figure) for row in (mine, theirs))
            if one is None and other is None:
                continue
            if one is None or other is None or abs(one - other) > tolerance * abs(one):
                return StepDifference(stage, step, figure, one, other)
    return None
