from __future__ import annotations

import pytest

from tutelage.lab.estimates import Estimate
from tutelage.lab.findings.forgetting import CLAIMED, verdict

UP, FLAT, DOWN = (Estimate(v, v - 0.05, v + 0.05, "relative_change") for v in (0.3, 0.01, -0.2))


@pytest.mark.parametrize(
    ("forgetting", "changes", "expected"),
    [
        (UP, (DOWN, DOWN), "reproduced"),
        (UP, (DOWN, FLAT), "inconclusive"),
        (UP, (DOWN, UP), "contradicted"),
        (FLAT, (DOWN, DOWN), "inconclusive"),
        (FLAT, (UP, UP), "inconclusive"),
        (DOWN, (DOWN, DOWN), "inconclusive"),
    ],
)
def test_there_must_be_forgetting_and_every_mitigation_must_help(
    forgetting: Estimate, changes: tuple[Estimate, Estimate], expected: str
) -> None:
    found, reason = verdict(forgetting, dict(zip(CLAIMED, changes, strict=True)))
    assert found == expected
    assert all(str(estimate) in reason for estimate in (forgetting, *changes))
