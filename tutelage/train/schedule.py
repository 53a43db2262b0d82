"""The learning rate over a run."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

from tutelage.config import Settings


class ScheduleSettings(Settings, frozen=True, kw_only=True):
    """Warm up over the share `warmup` of all steps, then follow `kind`, ending at `final` of the peak.

    kind:   wsd is warm-up, stable, decay (Hu et al. 2024, MiniCPM, arXiv 2404.06395): constant, then linear over
            `decay`.
    warmup: share of the steps over which the learning rate rises to its peak.
    decay:  share of the steps over which "wsd" lowers it at the end.
    final:  the learning rate at the end, as a share of the peak.
    """

    kind: Literal["constant", "cosine", "wsd"] = "wsd"
    warmup: float = 0.02
    decay: float = 0.3
    final: float = 0.05

    def __post_init__(self) -> None:
        for name in ("warmup", "decay", "final"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}; it is a share and must lie between 0 and 1")
        if self.kind == "wsd" and self.warmup + self.decay > 1:
            raise ValueError("warmup and decay add up to more than the whole run; lower one of them")


def make_schedule(settings: ScheduleSettings, steps: int) -> Callable[[int], float]:
    """The factor on the peak rate at each step, counted from 0."""
    warm_steps = round(settings.warmup * steps)
    decay_steps = round(settings.decay * steps)

    def factor(step: int) -> float:
        if step < warm_steps:
            return (step + 1) / warm_steps
        if settings.kind == "cosine":
            done = (step - warm_steps) / max(1, steps - 1 - warm_steps)
            return settings.final + (1 - settings.final) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
        if settings.kind == "wsd" and step >= steps - decay_steps:
            return 1 - (1 - settings.final) * (step - (steps - decay_steps) + 1) / decay_steps
        return 1.0

    return factor
