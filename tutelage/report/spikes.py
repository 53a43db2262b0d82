"""Loss spikes in a training log: steps whose loss stands far above that of the steps around them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

WINDOW = 15  # steps on each side that say what is usual
DEVIATIONS, RISE = 8.0, 1.2  # median absolute deviations above the median; and times the median
FIRST = 10  # steps in which the loss falls too fast to tell


@dataclass(frozen=True)
class Spike:
    """A step with its loss and the usual loss around it."""

    step: int
    loss: float
    usual: float


def find_spikes(steps: np.ndarray, losses: np.ndarray) -> list[Spike]:
    """The spikes of a log, the highest above the usual loss first. The usual loss is the median of the steps around,
    without the step itself, so that one bad step does not hide itself."""
    found = []
    for place in range(FIRST, len(losses)):
        around = np.concatenate([losses[max(0, place - WINDOW) : place], losses[place + 1 : place + 1 + WINDOW]])
        around = around[np.isfinite(around)]
        if len(around) < WINDOW or not np.isfinite(losses[place]):
            continue
        usual = float(np.median(around))
        spread = float(np.median(np.abs(around - usual)))
        if losses[place] > max(usual + DEVIATIONS * spread, RISE * usual):
            found.append(Spike(int(steps[place]), float(losses[place]), usual))
    return sorted(found, key=lambda spike: spike.usual - spike.loss)
