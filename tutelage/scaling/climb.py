"""Train a ladder within a time, and the points of what is trained."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tutelage.model.hub import load_config
from tutelage.progress import status
from tutelage.scaling.ladder import Arm, Ladder, arms, runs_of
from tutelage.scaling.ladder_baselines import train_baselines
from tutelage.scaling.points import stage_row, write_points

POINTS, SWEEPS = "points.csv", "sweeps.csv"


def climb(
    ladder: Ladder, folder: Path, hours: float | None = None, clock: Callable[[], float] = time.monotonic
) -> list[Arm]:
    """Train the arms that are not finished, cheapest first, then the baselines, and write points.csv and sweeps.csv;
    returns the arms that are left because the next one is not expected to end within `hours`.

    Raises:
        ValueError: a run cannot be trained.
        Stopped: by Ctrl-C or SIGTERM; the same command resumes.
    """
    runs = runs_of(ladder, folder)
    end = math.inf if hours is None else clock() + 3600 * hours
    left: list[Arm] = []
    speeds: dict[str, float] = {}
    for arm in arms(ladder):
        run = runs[arm.size]
        if run.stage_done(arm.stage) is None:
            # Small models reach fewer FLOPs per second; without a speed of this size, the slowest one counts.
            speed = speeds.get(arm.size, min(speeds.values(), default=math.inf))
            if clock() + arm.budget / speed > end or left:
                left.append(arm)
                continue
            begin = clock()
            status(f"{arm.size}: {arm.budget:.3g} FLOPs, {arm.tokens:,} tokens, lr {arm.lr:.3g}")
            run.run(only=arm.stage)
            speeds[arm.size] = arm.budget / max(1e-9, clock() - begin)
    write_rows(ladder, folder)
    return left if left else train_baselines(ladder, folder, end, clock)


def write_rows(ladder: Ladder, folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Write the points of all finished arms, and those of the sweep with the points at its budget; returns both."""
    points, sweeps, runs = [], [], runs_of(ladder, folder)
    for arm in arms(ladder):
        stage = runs[arm.size].stage_done(arm.stage)
        if stage is None:
            continue
        config = load_config(folder / arm.size / arm.stage)
        row = {"size": arm.size, "budget": arm.budget, **stage_row(stage, config)}
        if arm.factor == 1:
            points.append(row)
        if ladder.sweep is not None and arm.budget == ladder.sweep.budget:
            sweeps.append(row)
    for name, rows in ((POINTS, points), (SWEEPS, sweeps)):
        if rows:
            write_points(folder / name, rows)
    return points, sweeps
