"""Training by rewards: the reward of sampled answers over the steps, the distance from the reference, and the best and
the worst answer to one prompt."""

from __future__ import annotations

from typing import Any

import numpy as np

from tutelage.html import Html, Series, columns, details, line_plot, paragraph, table, tag
from tutelage.report.curves import smooth
from tutelage.report.read import column

STEPS = 10  # whose answers are shown, at most


def policy(log: list[dict[str, Any]]) -> list[Html]:
    """Plots and answers of a log with rollouts; nothing for any other."""
    rewards = smooth(*column(log, "reward"), "sampled in training")
    if not len(rewards.x):
        return []
    held_out = Series("held-out prompts", *column(log, "eval.reward"), dashed=True)
    parts = [line_plot([rewards, held_out] if len(held_out.x) else [rewards], x_label="step", y_label="reward")]
    others = {"kl": "KL to the reference (nats per token)", "response_length": "tokens of an answer"}
    curves = {name: smooth(*column(log, name), label) for name, label in others.items()}
    plots = [line_plot([curve], x_label="step", y_label=curve.name) for curve in curves.values() if len(curve.x)]
    return [*parts, *([columns(*plots)] if plots else []), *_answers(log)]


def _answers(log: list[dict[str, Any]]) -> list[Html]:
    """The best and the worst of a group, over training, the newest first."""
    lines = [line for line in log if line.get("rollouts")]
    if not lines:
        return []
    places = np.unique(np.linspace(0, len(lines) - 1, STEPS).round().astype(np.int64))[::-1].tolist()
    rows: list[list[str | Html]] = []
    for line in (lines[place] for place in places):
        for number, rollout in enumerate(line["rollouts"]):
            reward = "–" if rollout["reward"] is None else f"{rollout['reward']:.3g}"
            first = [f"{line['step']:,}", _text(rollout["prompt"])] if number == 0 else ["", ""]
            rows.append([*first, reward, _text(rollout["written"])])
    note = paragraph("The first group of a step: its answers with the highest and the lowest reward.", muted=True)
    return [
        details("Answers with their rewards", note, table(["step", "prompt", "reward", "answer"], rows, numeric=(0, 2)))
    ]


def _text(text: str) -> Html:
    return tag("span", text.strip(), attributes={"class": "text"})
