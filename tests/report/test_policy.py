"""Curves and answers of training by rewards, from its log."""

from __future__ import annotations

from typing import Any

from tutelage.report.curves import other_figures
from tutelage.report.policy import STEPS, policy

LOG: list[dict[str, Any]] = [
    {
        "step": step,
        "loss": 0.1,
        "reward": step / 40,
        "kl": 0.01 * step,
        "outcome.right.right": 0.5,
        "rollouts": [
            {"prompt": f"<b>{step} + 1?", "written": f"good {step}", "reward": 1.0},
            {"prompt": f"<b>{step} + 1?", "written": f"bad {step}", "reward": None},
        ],
    }
    for step in range(1, 41)
]


def test_rewards_distance_and_the_best_and_worst_answers_are_shown() -> None:
    text = "".join(policy(LOG))
    assert "KL to the reference" in text
    assert "tokens of an answer" not in text  # not logged
    assert text.count(">good ") == text.count(">bad ") == STEPS
    assert text.index(">good 40<") < text.index(">good 1<")  # the newest first
    assert "<b>" not in text
    assert "held-out prompts" not in text
    assert "held-out prompts" in "".join(policy([*LOG, {"step": 41, "reward": 1.0, "eval.reward": 0.5}]))


def test_a_log_without_rewards_has_none_of_it() -> None:
    assert policy([{"step": 1, "loss": 2.0}]) == []


def test_figures_without_a_place_of_their_own_are_folded() -> None:
    (shown,) = other_figures(LOG)
    assert "outcome.right.right" in shown
    assert ">kl<" not in shown
    assert other_figures([{"step": 1, "loss": 2.0, "lr": 1.0, "preferences.margin": 1.0}]) == []
