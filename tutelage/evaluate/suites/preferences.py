"""Held-out preferences: accuracy beside the noise ceiling where that is known, margin, by how much answers became less
likely, and the calibration of scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from tutelage.batching.preferences import LABELLER_UTILITY, SIDE, TRUE_UTILITY
from tutelage.batching.store import Store
from tutelage.evaluate.item_figures import item_figures
from tutelage.evaluate.results import RateGroup, Results, Suite, outcomes_of
from tutelage.evaluate.session import EvalSession
from tutelage.evaluate.statistics import Rate, mean_interval, rate, share_of_sums
from tutelage.model.hub import Checkpoint
from tutelage.records import Utility
from tutelage.rl.reward_model import token_scores
from tutelage.world.preferences import noise_ceiling

RATES = ("accuracy", "likelier", "likelier_before")
BINS = 10


def run(session: EvalSession) -> Results:
    """The model on the held-out rows of all its datasets together.

    Raises:
        ValueError: no row is held out.
    """
    assert session.items is not None
    checkpoint = session.checkpoint("model")
    columns: dict[str, list[np.ndarray]] = {}
    ids: list[str] = []
    sides: list[list[ItemSide]] = []
    gaps: list[np.ndarray] = []
    for data, store in session.open_preferences().items():
        found = item_figures(checkpoint.model, store, session.items, session.batch_tokens)
        for name, values in found.items():
            columns.setdefault(name, []).append(values)
        if "chosen_reward" in found:
            gaps.append(score_gaps(checkpoint, store, found["margin"]))
        ids += [f"{data}:{number}" for number in range(len(store))]
        sides += item_sides(store)
    if not ids:
        raise ValueError(
            f"evaluate.{session.name}: 'preferences' needs held-out rows; set held_out of the stage above 0, or name a "
            "file of others as held_out of its data"
        )
    figures = {name: np.concatenate(parts) for name, parts in columns.items()}
    pairs = np.array([max(1, len(ranked_pairs(item))) for item in sides], np.float64)
    rates = {name: _rate(figures[name], pairs) for name in RATES if name in figures}
    outcomes = {name: outcomes_of(ids, (figures[name] > 0).tolist()) for name in rates}
    means: dict[str, Any] = {name: mean_interval(values) for name, values in figures.items() if name not in RATES}
    if gaps:
        means["calibration_error"] = {"mean": calibration_error(np.concatenate(gaps))}
        means["calibration"] = calibration_bins(np.concatenate(gaps))
    return Results(rates, outcomes, figures=means | _known_figures(sides, figures))


class ItemSide(NamedTuple):
    """An answer of a held-out row: its order (more is better), and its utility where that is known."""

    order: float
    utility: Utility


def item_sides(store: Store) -> list[list[ItemSide]]:
    """The answers of each row of a store; none of labelled answers."""
    if SIDE not in store.schema.scalars:
        return [[] for _ in range(len(store))]
    columns = zip(*(store.scalar(name).tolist() for name in (SIDE, TRUE_UTILITY, LABELLER_UTILITY)), strict=True)
    sides = (ItemSide(order, Utility(true, labeller)) for order, true, labeller in columns)
    return [list(islice(sides, count)) for count in store.segments_G.tolist()]


def ranked_pairs(item: Sequence[ItemSide]) -> list[tuple[Utility, Utility]]:
    """The utilities of the better and the worse answer of each pair of a row."""
    return [(one.utility, other.utility) for one in item for other in item if one.order > other.order]


def score_gaps(checkpoint: Checkpoint, store: Store, margins: np.ndarray) -> np.ndarray:
    """By how much a reward model scores the better answer of each pair above the worse one, float64 [pairs]. `margins`
    are the means over the pairs of each row; the pairs of rankings are scored anew."""
    if (store.segments_G <= 2).all():
        return margins
    gaps = []
    for number, item in enumerate(item_sides(store)):
        scores = token_scores(checkpoint, [answer.tokens for answer in store.group(number)])
        scored = list(zip((side.order for side in item), scores, strict=True))
        gaps += [better - worse for order, better in scored for other, worse in scored if order > other]
    return np.array(gaps, np.float64)


def _rate(right: np.ndarray, pairs: np.ndarray) -> Rate:
    """The share of pairs ranked right. Those of one prompt hang together, so they are resampled together."""
    if (pairs == 1).all():
        return rate(int(right.sum()), len(right))
    return share_of_sums(right * pairs, pairs)


def _known_figures(sides: Sequence[Sequence[ItemSide]], figures: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The expected accuracy of the labeller and of the true utility on these labels, and how near the model comes: none
    where the utilities are not known."""
    pairs = [pair for item in sides for pair in ranked_pairs(item)]
    if not any(utility != (0, 0) for pair in pairs for utility in pair):
        return {}
    ceiling = noise_ceiling(pairs)
    counts = [len(ranked_pairs(item)) for item in sides]
    of_ceiling = float(np.average(figures["accuracy"], weights=counts)) / ceiling.labeller
    known = {"ceiling": ceiling.labeller, "true_utility_accuracy": ceiling.true, "share_of_ceiling": of_ceiling}
    return {name: {"mean": value} for name, value in known.items()}


def calibration_error(margins: np.ndarray) -> float:
    """Expected calibration error of a reward model on pairs, margins float64 [pairs]: the mean gap between how sure it
    is, s(|margin|), and how often it is right, over bins of equal width between 0.5 and 1 (Guo et al. 2017, Eq. 3)."""
    bins = calibration_bins(margins)
    return sum(abs(row["right"] - row["sure"]) * row["count"] for row in bins.values()) / len(margins)


def calibration_bins(margins: np.ndarray) -> dict[str, dict[str, float]]:
    """The calibration curve: of each bin that has pairs how sure the model is, how often it is right, and how many
    pairs there are."""
    sure = 1 / (1 + np.exp(-np.abs(margins)))
    places = np.minimum(((sure - 0.5) * 2 * BINS).astype(int), BINS - 1)
    bins = {}
    for place in sorted(set(places.tolist())):
        here = places == place
        right, mean = float((margins[here] > 0).mean()), float(sure[here].mean())
        bins[str(place)] = {"sure": mean, "right": right, "count": float(here.sum())}
    return bins


SUITE = Suite(
    name="preferences",
    needs=frozenset({"preferences"}),
    run=run,
    labels={
        "accuracy": "held-out preferences ranked right",
        "likelier": "chosen likelier than rejected, per token",
        "likelier_before": "before: chosen likelier than rejected, per token",
    },
    groups=(RateGroup("Preferences", "On held-out preferences; a tie counts as wrong."),),
)
