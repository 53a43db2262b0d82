from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from made_policy import policy

from tutelage.report import rollouts as module
from tutelage.report.rollouts import rollouts


def test_a_stage_that_does_not_sample_has_no_section() -> None:
    assert rollouts([SimpleNamespace(name="chat", log=[{"step": 1, "loss": 2.0}])]) is None  # type: ignore[list-item]


def test_everything_that_was_logged_is_drawn_and_said() -> None:
    html = rollouts([policy(20)])  # type: ignore[list-item]
    assert html is not None
    for part in (
        "Reward", "gold (only measured)", "held-out prompts, greedy", "Divergence from the start", "Clipped tokens",
        "Ratio of new to old policy", "Groups without signal, by reason", "all right", "all cut off", "Spread",
        "Value head", "step 20 Gladly.", "−1.25", "none", "cut off",
    ):  # fmt: skip
        assert part in html, part


def test_groups_without_signal_are_drawn_by_reason_and_a_missing_reason_is_zero(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: dict[str, Any] = {}

    def plot(series: Any, **options: Any) -> str:
        drawn.update({options["title"]: {one.name: np.asarray(one.y).tolist() for one in series}})
        return ""

    monkeypatch.setattr(module, "line_plot", plot)
    rollouts([policy(4)])  # type: ignore[list-item]
    assert drawn["Groups without signal, by reason"] == {
        "all reasons": [0.5] * 4, "all right": [0.25] * 4, "all cut off": [0.25, 0, 0.25, 0],
    }  # fmt: skip
    assert set(drawn["Reward"]) == {"reward", "gold (only measured)"}  # "score" alone is the reward
