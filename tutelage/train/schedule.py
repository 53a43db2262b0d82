"""The learning rate over a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from tutelage.config import Settings

# The share of the decay that is done, by the share of its steps.
DECAYS: Mapping[str, Callable[[float], float]] = {
    "linear": lambda done: done,
    "cosine": lambda done: 0.5 * (1 - math.cos(math.pi * done)),
    "sqrt": math.sqrt,
}


class ScheduleSettings(Settings, frozen=True, kw_only=True):
    """Warm up over the share `warmup` of all steps, then follow `kind`, ending at `final` of the peak.

    kind:   wsd is warm-up, stable, decay (Hu et al. 2024, MiniCPM, arXiv 2404.06395): constant, then lower over
            `decay`.
    warmup: share of the steps over which the learning rate rises to its peak.
    warmup_steps: the same as a number of steps, in place of `warmup`.
    decay:  share of the steps over which "wsd" lowers it at the end.
    end:    how "wsd" lowers it: in a line, by a half cosine, or by the square root of the share done, which Hägele et
            al. 2024 (arXiv 2405.18392) found better than a line.
    final:  the learning rate at the end, as a share of the peak.
    batch_lr: with a batch_schedule, the rate is fixed, or grows with the square root of the batch to that of the
            largest one (Malladi et al. 2022, arXiv 2205.10287, for Adam).
    """

    kind: Literal["constant", "cosine", "wsd"] = "wsd"
    warmup: float = 0.02
    warmup_steps: int | None = None
    decay: float = 0.3
    end: Literal["linear", "cosine", "sqrt"] = "linear"
    final: float = 0.05
    batch_lr: Literal["fixed", "sqrt"] = "fixed"

    def __post_init__(self) -> None:
        for name in ("warmup", "decay", "final"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}; it is a share and must lie between 0 and 1")
        if self.warmup_steps is not None and self.warmup_steps < 0:
            raise ValueError(f"warmup_steps is {self.warmup_steps}; it must be at least 0")
        if self.kind == "wsd" and self.warmup_steps is None and self.warmup + self.decay > 1:
            raise ValueError("warmup and decay add up to more than the whole run; lower one of them")


def make_schedule(
    settings: ScheduleSettings, steps: int, batch_tokens: Sequence[int] | None = None
) -> Callable[[int], float]:
    """The factor on the peak rate at each step, counted from 0; `batch_tokens` is the batch of each step where it
    changes.

    Raises:
        ValueError: the warm-up is longer than what is left of the steps.
    """
    shape = _shape(settings, steps)
    if batch_tokens is None or settings.batch_lr == "fixed":
        return shape
    largest = max(batch_tokens)
    return lambda step: shape(step) * math.sqrt(batch_tokens[min(step, len(batch_tokens) - 1)] / largest)


def decay_start(settings: ScheduleSettings, steps: int) -> int:
    """The first step at which "wsd" lowers the rate; the number of steps where another kind is set."""
    return steps - round(settings.decay * steps) if settings.kind == "wsd" else steps


def _shape(settings: ScheduleSettings, steps: int) -> Callable[[int], float]:
    warm_steps = round(settings.warmup * steps) if settings.warmup_steps is None else settings.warmup_steps
    decay_steps = round(settings.decay * steps)
    if settings.warmup_steps is not None and warm_steps + (decay_steps if settings.kind == "wsd" else 0) > steps:
        raise ValueError(
            f"schedule.warmup_steps is {warm_steps}, but the stage has {steps} steps, its decay included; lower it"
        )

    def factor(step: int) -> float:
        if step < warm_steps:
            return (step + 1) / warm_steps
        if settings.kind == "cosine":
            done = (step - warm_steps) / max(1, steps - 1 - warm_steps)
            return settings.final + (1 - settings.final) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
        if settings.kind == "wsd" and step >= steps - decay_steps:
            done = (step - (steps - decay_steps) + 1) / decay_steps
            return 1 - (1 - settings.final) * DECAYS[settings.end](done)
        return 1.0

    return factor
