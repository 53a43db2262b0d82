"""Which evaluated step's weights become the stage's model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

# best_eval: the highest score of the dev eval; lowest_loss: the lowest held-out loss; last: the last step.
Selection = Literal["best_eval", "lowest_loss", "last"]
Metric = tuple[float, float]

WORST: Metric = (-math.inf, -math.inf)


def held_out_loss(line: Mapping[str, Any]) -> float:
    """The held-out loss on the stage's own data, the mean over its datasets; inf where it was not measured."""
    losses = [loss for name, loss in line.items() if name.startswith("held_out.")]
    return sum(losses) / len(losses) if losses else math.inf


def selection_metric(line: Mapping[str, Any], keep: Selection) -> Metric | None:
    """What weights are selected by, the higher the better; None where the log line has nothing of it. The score of the
    dev eval and, where it is equal, the lower held-out loss; or the loss alone."""
    if keep == "lowest_loss":
        return (-held_out_loss(line), 0.0) if held_out_loss(line) < math.inf else None
    return by_score(line) if "dev_eval" in line else None


def by_score(line: Mapping[str, Any]) -> Metric:
    """The score of the dev eval and, where it is equal, the lower held-out loss."""
    return round(line["dev_eval"]["score"], 6), -held_out_loss(line)


def best_so_far(log: Sequence[Mapping[str, Any]], keep: Selection) -> Metric:
    """The best selection metric of a log; WORST where there is none."""
    metrics = [selection_metric(line, keep) for line in log]
    return max((metric for metric in metrics if metric is not None), default=WORST)


def select(log: Sequence[Mapping[str, Any]], keep: Selection) -> dict[str, Any]:
    """Which step's weights become the model, and by what; beside it the steps of the best dev eval and of the lowest
    held-out loss, whether they were selected or not."""
    last = log[-1]["step"]
    selected: dict[str, Any] = {"step": last, "by": "last", "last": last}
    evaluated = [line for line in log if "dev_eval" in line]
    if evaluated:
        best = max(evaluated, key=by_score)
        selected |= {"best_eval_step": best["step"], "score": best["dev_eval"]["score"]}
    rated = []
    if keep != "last":
        rated = [(metric, line) for line in log if (metric := selection_metric(line, keep)) is not None]
    if rated:
        _, kept = max(rated, key=lambda pair: pair[0])  # the first of equals, as the weights were kept
        selected |= {"step": kept["step"], "by": keep}
    with_loss = [line for line in evaluated or [line for _, line in rated] if held_out_loss(line) < math.inf]
    return selected | ({"lowest_loss_step": min(with_loss, key=held_out_loss)["step"]} if with_loss else {})
