from __future__ import annotations

import pytest

from tutelage.lab.estimates import Estimate
from tutelage.lab.findings.knowledge_extraction import verdict

UP, FLAT, DOWN = (Estimate(v, v - 0.05, v + 0.05, "points") for v in (0.4, 0.01, -0.4))


@pytest.mark.parametrize(
    ("without", "replay", "expected"),
    [
        (UP, UP, "reproduced"),
        (UP, FLAT, "inconclusive"),
        (FLAT, FLAT, "inconclusive"),
        (UP, DOWN, "inconclusive"),
        (DOWN, FLAT, "inconclusive"),
        (DOWN, DOWN, "contradicted"),
    ],
)
def test_fine_tuning_with_and_without_replay_must_agree(without: Estimate, replay: Estimate, expected: str) -> None:
    found, reason = verdict({"no replay": without, "replay 0.5": replay})
    assert found == expected
    assert f"no replay: {without}; replay 0.5: {replay}" in reason
