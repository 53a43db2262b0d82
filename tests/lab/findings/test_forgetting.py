from __future__ import annotations

import pytest

from tutelage.lab.figures import Estimate
from tutelage.lab.findings.forgetting import CLAIMED, verdict

UP, FLAT, DOWN = (Estimate(v, v - 0.05, v + 0.05, "change") for v in (0.3, 0.01, -0.2))


@pytest.mark.parametrize(
    ("forgot", "cures", "expected"),
    [
        (UP, (DOWN, DOWN), "reproduced"),
        (UP, (DOWN, FLAT), "not at this scale"),
        (UP, (DOWN, UP), "contradicted"),
        (FLAT, (DOWN, DOWN), "not at this scale"),
        (FLAT, (UP, UP), "not at this scale"),
        (DOWN, (DOWN, DOWN), "not at this scale"),
    ],
)
def test_there_must_be_something_to_cure_and_every_cure_must_help(
    forgot: Estimate, cures: tuple[Estimate, Estimate], expected: str
) -> None:
    ruling, why = verdict(forgot, dict(zip(CLAIMED, cures, strict=True)))
    assert ruling == expected
    assert all(str(figure) in why for figure in (forgot, *cures))
