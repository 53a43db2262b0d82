from __future__ import annotations

import pytest

from tutelage.lab.figures import Estimate
from tutelage.lab.findings.knowledge_extraction import verdict

UP, FLAT, DOWN = (Estimate(v, v - 0.05, v + 0.05, "points") for v in (0.4, 0.01, -0.4))


@pytest.mark.parametrize(
    ("without", "replay", "expected"),
    [
        (UP, UP, "reproduced"),
        (UP, FLAT, "not at this scale"),
        (FLAT, FLAT, "not at this scale"),
        (UP, DOWN, "not at this scale"),
        (DOWN, FLAT, "not at this scale"),
        (DOWN, DOWN, "contradicted"),
    ],
)
def test_both_ways_of_fine_tuning_must_agree(without: Estimate, replay: Estimate, expected: str) -> None:
    ruling, why = verdict({"no replay": without, "replay 0.5": replay})
    assert ruling == expected
    assert f"no replay: {without}; replay 0.5: {replay}" in why
