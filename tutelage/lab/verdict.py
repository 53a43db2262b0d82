"""The rule of every verdict: primary effects named before the run, several seeds, intervals, and a control that must
fire."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import msgspec

from tutelage.evaluate.statistics import Z_95
from tutelage.lab.estimates import Estimate

# "not at this scale": neither is shown. The claim may hold for larger models or more data.
Verdict = Literal["reproduced", "not at this scale", "contradicted"]
Needed = Literal["all", "any"]
LEVEL = 0.05
LEAST_POINTS, LEAST_SHARE = 0.03, 0.02  # effects that count: points of a rate, share of a loss
FLOOR, CEILING = 0.05, 0.95


class Effect(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a claim predicts to be above 0.

    Args:
        name: what is compared, such as "masked minus unmasked, held-out people".
        estimate: the effect over all seeds, with its 95% interval.
        by_seed: the effect with each seed.
        arms: the rates that the effect is the difference of, if it is one.
        least: the smallest effect that counts.
    """

    name: str
    estimate: Estimate
    by_seed: Sequence[float]
    arms: Sequence[Estimate] = ()
    least: float = LEAST_POINTS

    def __str__(self) -> str:
        return f"{self.name}: {self.estimate}"

    @property
    def fires(self) -> bool:
        """Whether it is above 0 with every seed, and its interval too: what a control has to show."""
        return self.estimate.above_zero and min(self.by_seed) > 0


def p_value(estimate: Estimate) -> float:
    """The two-sided p-value that belongs to a 95% interval, by the normal distribution."""
    error = (estimate.high - estimate.low) / (2 * Z_95)
    centre = (estimate.high + estimate.low) / 2
    if error == 0:
        return 0.0 if centre else 1.0
    return math.erfc(abs(centre) / error / math.sqrt(2))


def holm(p_values: Sequence[float], level: float = LEVEL) -> list[bool]:
    """Which of several hypotheses are rejected with a family-wise error of `level` (Holm 1979, Scandinavian Journal of
    Statistics 6:65)."""
    rejected = [False] * len(p_values)
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[place] > level / (len(p_values) - rank):
            break
        rejected[place] = True
    return rejected


def decide(primary: Sequence[Effect], control: Effect, needed: Needed = "all") -> tuple[Verdict, str]:
    """The verdict and its reason.

    An effect is shown if its interval excludes 0, every seed has its sign, and it is as large as counts. If `any` of
    several is enough, or contradicts, Holm's correction applies. Reproduced if all (or any) are shown and none is shown
    the other way; contradicted if one is shown the other way and none as claimed. Neither without the control.
    """
    assert primary and all(len(effect.by_seed) for effect in primary)
    corrected = holm([p_value(effect.estimate) for effect in primary])
    shown = [_direction(effect) if needed == "all" else _direction(effect) * corrected[place]
             for place, effect in enumerate(primary)]  # fmt: skip
    against = [_direction(effect) < 0 and corrected[place] for place, effect in enumerate(primary)]
    text = f"{'; '.join(map(str, primary))}. Control: {control}."
    if not control.fires:
        return "not at this scale", f"{text} The control does not fire, so nothing can be concluded."
    enough = all if needed == "all" else any
    if enough(one > 0 for one in shown) and not any(against):
        return "reproduced", text
    if any(against) and not any(one > 0 for one in shown):
        return "contradicted", text
    return "not at this scale", f"{text} {' '.join(_obstacle(effect) for effect in primary if _obstacle(effect))}"


def _direction(effect: Effect) -> int:
    """1 where the effect is shown as claimed, -1 where it is shown the other way, else 0."""
    for sign in (1, -1):
        ends = sign * effect.estimate.low, sign * effect.estimate.high
        if min(ends) > 0 and min(sign * one for one in effect.by_seed) > 0:
            return sign if sign * effect.estimate.value >= effect.least else 0
    return 0


def _obstacle(effect: Effect) -> str:
    """Why an effect is not shown; "" if it is."""
    estimate, name = effect.estimate, effect.name
    if _direction(effect):
        return "" if estimate.value > 0 else f"{name}: the other way."
    if effect.arms and all(arm.value < FLOOR for arm in effect.arms):
        return f"{name}: all rates are at the floor."
    if effect.arms and all(arm.value > CEILING for arm in effect.arms):
        return f"{name}: all rates are at the ceiling."
    if not (estimate.above_zero or estimate.below_zero):
        return f"{name}: the interval includes 0."
    if min(effect.by_seed) <= 0 <= max(effect.by_seed):
        return f"{name}: the seeds disagree."
    return f"{name}: smaller than {100 * effect.least:g}{' points' if estimate.kind == 'points' else '%'}."
