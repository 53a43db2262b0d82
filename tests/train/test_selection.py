from __future__ import annotations

from typing import Any

import pytest

from tutelage.stages.sft import Sft
from tutelage.train.selection import WORST, Selection, best_so_far, select, selection_metric


def evaluated(step: int, score: float, loss: float) -> dict[str, Any]:
    return {"step": step, "loss": 0.1, "held_out.chat": loss, "dev_eval": {"score": score}}


@pytest.mark.parametrize(
    ("evals", "step", "lowest"),
    [
        ([evaluated(1, 0.5, 1.0), evaluated(2, 0.9, 2.0), evaluated(3, 0.8, 0.5)], 2, 3),
        (
            [evaluated(1, 0.9, 2.0), evaluated(2, 0.9, 1.0), evaluated(3, 0.9, 1.5)],
            2,
            2,
        ),  # equal scores: the lower loss
        ([evaluated(1, 0.9, 1.0), evaluated(2, 0.9, 1.0), evaluated(3, 0.1, 1.0)], 1, 1),
        ([evaluated(1, 0.9, 1.0), evaluated(2, 0.9 + 1e-9, 2.0)], 1, 1),  # a sum in another order is no better score
        ([evaluated(1, 0.0, 1.0)], 1, 1),
    ],
)
def test_the_score_comes_first_then_loss_then_the_earliest(evals: list[dict[str, Any]], step: int, lowest: int) -> None:
    log = [line for one in evals for line in ({"step": one["step"] - 0.5, "loss": 0.1}, one)]
    found = select([*log, {"step": 9, "loss": 0.1}], "best_eval")
    assert (found["step"], found["best_eval_step"], found["lowest_loss_step"], found["last"]) == (
        step,
        step,
        lowest,
        9,
    )


def test_the_loss_alone_may_select_and_needs_no_dev_eval() -> None:
    log = [
        {"step": step, "loss": 0.1, "held_out.chat": loss} for step, loss in ((1, 2.0), (2, 1.0), (3, 1.0), (4, 1.5))
    ]
    found = {"step": 2, "by": "lowest_loss", "lowest_loss_step": 2, "last": 4}
    assert select(log, "lowest_loss") == found
    alone = {"step": 1, "by": "last", "last": 1}
    assert select([{"step": 1, "loss": 0.1}], "lowest_loss") == alone  # nothing held out


def test_a_stage_that_is_never_evaluated_keeps_its_last_weights() -> None:
    stage = Sft(parent="base", data={"chat": 1.0}, steps=1)
    assert (stage.keep, stage.selection()) == ("best_eval", "last")
    log = [{"step": 7, "loss": 0.1, "held_out.chat": 1.0}]
    assert select(log, stage.selection()) == {"step": 7, "by": "last", "last": 7}


@pytest.mark.parametrize("keep", ["best_eval", "lowest_loss"])
def test_what_a_resumed_stage_must_beat_is_what_its_log_selects(keep: Selection) -> None:
    log = [evaluated(1, 0.9, 2.0), evaluated(2, 0.9, 1.0), {"step": 3, "loss": 0.1}, evaluated(4, 0.8, 0.5)]
    best = log[select(log, keep)["step"] - 1]
    assert best_so_far(log, keep) == selection_metric(best, keep)
    assert best_so_far(log[2:3], keep) == best_so_far([], keep) == WORST
