"""Curves of a training log: losses, learning rate, preferences, and whatever else was logged."""

from __future__ import annotations

from typing import Any

import numpy as np

from tutelage.html import Html, Series, columns, details, line_plot
from tutelage.report.read import column, names_under

POINTS = 300  # of a smoothed curve
SMOOTHED_FROM = 60  # steps; a shorter curve is drawn unsmoothed
WINDOW = 40  # a smoothed point is the mean over about 1/WINDOW of the steps
# Of held-out preferences: title, axis, and the figures with their labels.
PREFERENCE_PLOTS: tuple[tuple[str, str, dict[str, str]], ...] = (
    (
        "Held-out preferences ranked right",
        "share",
        {"accuracy": "by the margin", "likelier": "by probability per token"},
    ),
    ("Margin on held-out preferences", "margin", {"margin": "margin"}),
    (
        "Displacement of held-out answers from the reference",
        "nats per token",
        {"chosen_shift": "chosen", "rejected_shift": "rejected"},
    ),
    ("Scores of held-out answers", "score", {"chosen_reward": "chosen", "rejected_reward": "rejected"}),
)
# Names, up to the first dot, of figures that have their place elsewhere in the section.
PLOTTED = (
    "step loss lr gradient_norm tokens trained_tokens held_out base_held_out preferences dev_eval score reward kl "
    "kl_k2 kl_exact entropy clipped ratio reward_std advantage_std response_length response_length_max mismatch value "
    "return no_signal eval"
).split()
SERIES = 8  # in a plot of other figures, at most


def smooth(steps: np.ndarray, values: np.ndarray, name: str) -> Series:
    """A curve as means over windows of its steps, with the lowest and highest value of each window as its band.

    Windows shrink at both ends, so the first and the last point are the values themselves.
    """
    if len(steps) <= SMOOTHED_FROM:
        return Series(name, steps, values)
    half = max(1, len(steps) // (2 * WINDOW))
    centres = np.unique(np.linspace(0, len(steps) - 1, POINTS).round().astype(np.int64))
    radii = np.minimum(half, np.minimum(centres, len(steps) - 1 - centres))
    windows = [values[c - r : c + r + 1] for c, r in zip(centres.tolist(), radii.tolist(), strict=True)]
    means, lows, highs = (np.array([of(window) for window in windows]) for of in (np.mean, np.min, np.max))
    return Series(name, steps[centres], means, lows, highs)


def _losses(log: list[dict[str, Any]]) -> list[Series]:
    """The smoothed training loss of every dataset, and the held-out losses."""
    datasets = names_under(log, "loss.")
    train = [smooth(*column(log, f"loss.{name}"), f"train, {name}") for name in datasets]
    train = train or [smooth(*column(log, "loss"), "train")]
    held_out = names_under(log, "held_out.")
    return [*train, *(Series(f"held out, {name}", *column(log, f"held_out.{name}"), dashed=True) for name in held_out)]


def loss_plot(log: list[dict[str, Any]], unit: str) -> Html:
    """The training loss of every dataset, and the held-out losses; `unit` is that of the loss."""
    return line_plot(_losses(log), x_label="step", y_label=f"loss ({unit})", title="Loss")


def rate_and_norm(log: list[dict[str, Any]]) -> Html:
    """Learning rate and gradient norm, folded."""
    plots = [
        line_plot([Series(title, *column(log, name))], x_label="step", y_label=title)
        for name, title in (("lr", "learning rate"), ("gradient_norm", "gradient norm"))
    ]
    return details("Learning rate and gradient norm", columns(*plots))


def other_figures(log: list[dict[str, Any]]) -> list[Html]:
    """Whatever else was logged as numbers, such as rewards of rollouts: a plot for each name before the first dot."""
    names = {name for line in log for name, value in line.items() if isinstance(value, int | float)}
    groups: dict[str, list[str]] = {}
    for name in sorted(names):
        groups.setdefault(name.partition(".")[0], []).append(name)
    plots = [
        line_plot([smooth(*column(log, name), name) for name in groups[group][:SERIES]], x_label="step", y_label=group)
        for group in sorted(set(groups) - set(PLOTTED))
    ]
    return [details("Other figures", columns(*plots))] if plots else []


def preferences(log: list[dict[str, Any]]) -> list[Html]:
    """Held-out preferences over training: accuracy, margin, and by how much answers became likelier or less likely."""
    plots = []
    for title, y_label, figures in PREFERENCE_PLOTS:
        series = [
            Series(f"{label}, {name.rpartition('.')[0]}", *column(log, f"preferences.{name}"))
            for figure, label in figures.items()
            for name in names_under(log, "preferences.")
            if name.rpartition(".")[2] == figure
        ]
        series = [curve for curve in series if len(curve.x) > 1]
        if series:
            plots.append(line_plot(series, x_label="step", y_label=y_label, title=title))
    return plots
