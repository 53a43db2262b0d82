"""Held-out preferences: accuracy, margin, by how much answers became less likely, and the calibration of scores."""

from __future__ import annotations

import numpy as np

from tutelage.evaluate.item_figures import item_figures
from tutelage.evaluate.results import RateGroup, Results, Suite, outcomes_of
from tutelage.evaluate.session import EvalSession
from tutelage.evaluate.statistics import mean_interval, rate

RATES = ("accuracy", "likelier", "likelier_before")
BINS = 10


def run(session: EvalSession) -> Results:
    """The model on the held-out rows of all its datasets together.

    Raises:
        ValueError: no row is held out.
    """
    assert session.items is not None
    model = session.checkpoint("model").model
    columns: dict[str, list[np.ndarray]] = {}
    ids: list[str] = []
    for data, store in session.open_preferences().items():
        for name, values in item_figures(model, store, session.items, session.batch_tokens).items():
            columns.setdefault(name, []).append(values)
        ids += [f"{data}:{number}" for number in range(len(store))]
    if not ids:
        raise ValueError(
            f"evaluate.{session.name}: 'preferences' needs held-out rows; set held_out of the stage above 0, or name a "
            "file of others as held_out of its data"
        )
    figures = {name: np.concatenate(parts) for name, parts in columns.items()}
    rates = {name: rate(int(figures[name].sum()), len(ids)) for name in RATES if name in figures}
    outcomes = {name: outcomes_of(ids, (figures[name] > 0).tolist()) for name in rates}
    means = {name: mean_interval(values) for name, values in figures.items() if name not in RATES}
    if "chosen_reward" in figures:
        means["calibration_error"] = {"mean": calibration_error(figures["margin"])}
    return Results(rates, outcomes, figures=means)


def calibration_error(margins: np.ndarray) -> float:
    """Expected calibration error of a reward model on pairs, margins float64 [pairs]: the mean gap between how sure it
    is, s(|margin|), and how often it is right, over bins of equal width between 0.5 and 1 (Guo et al. 2017, Eq. 3)."""
    sure = 1 / (1 + np.exp(-np.abs(margins)))
    places = np.minimum(((sure - 0.5) * 2 * BINS).astype(int), BINS - 1)
    gaps = [
        abs((margins[places == b] > 0).mean() - sure[places == b].mean()) * (places == b).sum() for b in set(places)
    ]
    return float(sum(gaps) / len(margins))


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
