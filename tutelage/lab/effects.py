"""Effects of findings, from the stages of a run: differences of rates and of losses, over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from tutelage.intervals import Z_95, mean_interval
from tutelage.lab.estimates import Estimate, Kind, difference, pooled
from tutelage.lab.run_cache import FinishedRun
from tutelage.lab.verdict import LEAST_SHARE, Effect


def rate_effect(run: FinishedRun, name: str, metric: str, higher: Sequence[str], lower: Sequence[str]) -> Effect:
    """How much higher a rate is after the stages `higher` than after `lower`: one stage a seed, or one for all."""
    first, second = ([run.outcomes(stage, metric) for stage in stages] for stages in (lower, higher))
    seeds = max(len(first), len(second))
    first, second = (outcomes * seeds if len(outcomes) == 1 else outcomes for outcomes in (first, second))
    by_seed = [float(np.mean(after - before)) for before, after in zip(first, second, strict=True)]
    return Effect(name, difference(first, second), by_seed, (pooled(second), pooled(first)))


def above(run: FinishedRun, name: str, metric: str, stages: Sequence[str], level: float) -> Effect:
    """How far a rate is above a level, such as that of guessing."""
    outcomes = [run.outcomes(stage, metric) for stage in stages]
    mean = pooled(outcomes)
    estimate = Estimate(mean.value - level, mean.low - level, mean.high - level, "points")
    return Effect(name, estimate, [float(np.mean(one)) - level for one in outcomes], (mean,))


def no_worse(effect: Effect, margin: float) -> Effect:
    """The claim that a difference is at most `margin` below 0, which it is raised by."""
    e, unit = effect.estimate, f"{100 * margin:g} points" if effect.estimate.kind == "points" else f"{margin:g}"
    raised = Estimate(e.value + margin, e.low + margin, e.high + margin, e.kind)
    by_seed = [one + margin for one in effect.by_seed]
    name = f"{effect.name}, above −{unit}"
    return msgspec.structs.replace(effect, name=name, estimate=raised, by_seed=by_seed, least=0.0)


def loss_effect(run: FinishedRun, name: str, lower: Sequence[str], higher: Sequence[str]) -> Effect:
    """By what share the loss on held-out base text is lower after the stages `lower` than after `higher`, pairwise."""
    changes = [run.base_loss_change(high, low) for low, high in zip(lower, higher, strict=True)]
    return _negated(name, changes)


def forgetting_effect(run: FinishedRun, name: str, stages: Sequence[str]) -> Effect:
    """By what share the loss on held-out base text rises."""
    changes = [run.forgetting(stage) for stage in stages]
    return Effect(name, _mean(changes), [change.value for change in changes], least=LEAST_SHARE)


def _negated(name: str, changes: Sequence[Estimate]) -> Effect:
    mean = _mean(changes)
    estimate = Estimate(-mean.value, -mean.high, -mean.low, mean.kind)
    return Effect(name, estimate, [-change.value for change in changes], least=LEAST_SHARE)


def _mean(changes: Sequence[Estimate]) -> Estimate:
    """The mean over seeds. The interval is that of one seed, as wide as the mean of them: the text is the same."""
    value, low, high = (
        float(np.mean([getattr(change, part) for change in changes])) for part in ("value", "low", "high")
    )
    return Estimate(value, low, high, changes[0].kind)


def mean_effect(name: str, higher: Sequence[np.ndarray], lower: Sequence[np.ndarray]) -> Effect:
    """How much higher the mean of items is: per seed float64[items], the same items in the same order."""
    changes = [after - before for before, after in zip(lower, higher, strict=True)]
    means = mean_estimate(higher), mean_estimate(lower)
    arms = means if all(0 <= mean.value <= 1 for mean in means) else ()
    return Effect(name, mean_estimate(changes, "points"), [float(change.mean()) for change in changes], arms)


def mean_estimate(by_seed: Sequence[np.ndarray], kind: Kind = "rate") -> Estimate:
    """The mean of items over seeds, each float64[items]; the interval is over the items."""
    interval = mean_interval(np.mean(by_seed, axis=0))
    return Estimate(interval["mean"], interval["low"], interval["high"], kind)


def split_effect(name: str, higher: np.ndarray, lower: np.ndarray, parts: int = 3) -> Effect:
    """How much higher the mean of items is for a model that is one draw of weights, float64[items]: disjoint parts of
    the items, every third one, take the place of seeds."""
    change = higher - lower
    by_part = [float(change[part::parts].mean()) for part in range(parts)]
    return Effect(name, mean_estimate([change], "points"), by_part, (mean_estimate([higher]), mean_estimate([lower])))


def unpaired_effect(name: str, higher: Sequence[np.ndarray], lower: Sequence[np.ndarray]) -> Effect:
    """How much higher the mean of items is than that of other items, per seed float64[items]: the normal interval of
    the difference of two independent means, over items averaged over seeds."""
    first, second = np.mean(lower, axis=0), np.mean(higher, axis=0)
    value = float(second.mean() - first.mean())
    half = Z_95 * math.sqrt(sum(float(items.var(ddof=1)) / len(items) for items in (first, second)))
    estimate = Estimate(value, value - half, value + half, "points")
    by_seed = [float(after.mean() - before.mean()) for before, after in zip(lower, higher, strict=True)]
    return Effect(name, estimate, by_seed, (mean_estimate(higher), mean_estimate(lower)))
