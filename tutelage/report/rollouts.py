"""Reinforcement learning of each stage: reward with its parts, divergence, entropy, ratio and clipping, advantages,
groups without signal with the reason, and samples over training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tutelage.html import Html, Series, columns, details, heading, line_plot, paragraph, section, table, tag
from tutelage.report.curves import smooth
from tutelage.report.evaluation import with_small
from tutelage.report.read import Finished, column, names_under

SHOWN = 8  # rollouts of which samples are shown
# Figures of a stage: title, axis, whether it is a share, and the logged figures with their labels.
PLOTS: tuple[tuple[str, str, bool, dict[str, str]], ...] = (
    (
        "Divergence from the start",
        "nats per token",
        False,
        {"kl": "k1: mean log-ratio", "kl_k2": "k2: half its square", "kl_exact": "exact, over the vocabulary"},
    ),
    ("Entropy of the sampled tokens", "nats per token", False, {"entropy": "entropy"}),
    ("Clipped tokens", "share", True, {"clipped": "clipped"}),
    ("Ratio of new to old policy", "ratio", False, {"ratio": "mean ratio"}),
    ("Spread", "standard deviation", False, {"reward_std": "rewards", "advantage_std": "advantages"}),
    ("Length of answers", "tokens", False, {"response_length": "mean", "response_length_max": "longest"}),
    ("Sampler and trainer", "nats per token", False, {"mismatch": "mismatch"}),
    ("Value head", "value", False, {"value": "mean value", "return": "mean return"}),
)
REASONS: Mapping[str, str] = {
    "cap": "all cut off",
    "parse": "all unparsable",
    "solved": "all right",
    "unsolved": "all wrong",
    "equal": "equal for another cause",
    "abstained": "without rewards",
}


def rollouts(stages: Sequence[Finished]) -> Html | None:
    """The section; None where no stage samples."""
    sampled = [stage for stage in stages if any("rollouts" in row for row in stage.log)]
    if not sampled:
        return None
    note = "Thick lines are means over a fortieth of the steps. Rewards are those of the samples that are trained on."
    parts = [
        [heading(stage.name), *rollout_curves(stage.log, stage.info.settings.get("rewards") or {})] for stage in sampled
    ]
    return section("Reinforcement learning", *(part for of_stage in parts for part in of_stage), note=note)


def rollout_curves(log: list[dict[str, Any]], rewards: Mapping[str, Any]) -> list[Html]:
    """Curves and samples of a log with rollouts; nothing for any other. `rewards`: the settings of the parts."""
    if not any("rollouts" in row for row in log):
        return []
    plots = [
        line_plot(series, x_label="step", y_label=y_label, title=title, percent=percent)
        for title, y_label, percent, figures in PLOTS
        if (series := _series(log, figures))
    ]
    return [
        line_plot(_rewards(log, rewards), x_label="step", y_label="reward", title="Reward"),
        *_without_signal(log),
        columns(*plots),
        details("Samples during training: the best and the worst of a group", _samples(log)),
    ]


def _series(log: list[dict[str, Any]], figures: Mapping[str, str]) -> list[Series]:
    found = [(label, *column(log, name)) for name, label in figures.items()]
    return [smooth(steps, values, label) for label, steps, values in found if len(steps)]


def _rewards(log: list[dict[str, Any]], parts: Mapping[str, Any]) -> list[Series]:
    """The reward, the parts that it is not equal to, and the reward of greedy answers to held-out prompts."""
    series = [smooth(*column(log, "reward"), "reward")]
    weights = {name: (settings or {}).get("weight", 1.0) for name, settings in parts.items()}
    counted = [name for name, weight in weights.items() if weight]
    for name in names_under(log, "reward."):
        if [name] == counted and weights[name] == 1:
            continue
        label = f"{name} (only measured)" if weights.get(name) == 0 else name
        series.append(smooth(*column(log, f"reward.{name}"), label))
    steps, values = column(log, "eval.reward")
    if len(steps) > 1:
        series.append(Series("held-out prompts, greedy", steps, values, dashed=True))
    return series


def _without_signal(log: list[dict[str, Any]]) -> list[Html]:
    """Groups that teach nothing, by reason; nothing for samples without groups."""
    if not names_under(log, "no_signal"):
        return []
    rows = [row for row in log if "no_signal" in row]
    steps = np.array([row["step"] for row in rows])
    series = [smooth(steps, np.array([row["no_signal"] for row in rows], np.float64), "all reasons")]
    for name in names_under(rows, "no_signal."):
        values = np.array([row.get(f"no_signal.{name}", 0.0) for row in rows], np.float64)
        series.append(smooth(steps, values, REASONS.get(name, name)))
    return [line_plot(series, x_label="step", y_label="share", title="Groups without signal, by reason", percent=True)]


def _samples(log: list[dict[str, Any]]) -> Html:
    rows = [row for row in log if "rollouts" in row]
    places = np.unique(np.linspace(0, len(rows) - 1, SHOWN).round().astype(np.int64)).tolist()
    cells: list[list[str | Html]] = []
    for row in (rows[place] for place in places):
        for sample in row["rollouts"]:
            cut_off = "" if sample["finish_reason"] == "stop" else "cut off"
            answer = tag("span", sample["written"].strip() or "(empty)", attributes={"class": "text"})
            cells.append(
                [
                    f"{row['step']:,}",
                    with_small(_number(sample["reward"]), _parts(sample["parts"])),
                    with_small(str(sample["tokens"]), cut_off),
                    tag("div", answer, paragraph(sample["prompt"].strip(), muted=True)),
                ]
            )
    return table(["step", "reward", "tokens", "answer, and its prompt"], cells, numeric=range(3))


def _parts(parts: Mapping[str, float | None]) -> str:
    return ", ".join(f"{name} {_number(value)}" for name, value in parts.items()) if len(parts) > 1 else ""


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.3g}".replace("-", "−")
