from __future__ import annotations

import pytest

from tutelage.lab.estimates import Estimate
from tutelage.lab.findings.learning_rate import RATIOS, RECOMMENDED, verdict

# Correct answers of 100, and base-text loss, at each learning rate. Differences of 10 are significant.
RECOMMENDED_BEST = {"3": 20, "1": 60, "1/3": 65, "1/10": 50, "1/30": 10, "1/300": 0}
HIGH_BEST = {"3": 40, "1": 90, "1/3": 65, "1/10": 50, "1/30": 10, "1/300": 0}
FLAT = dict.fromkeys(RATIOS, 50)
LOW_IS_ENOUGH = {"3": 20, "1": 60, "1/3": 65, "1/10": 60, "1/30": 62, "1/300": 61}
FORGETS_MORE_AT_HIGHER_LR = {"3": 300, "1": 200, "1/3": 130, "1/10": 110, "1/30": 100, "1/300": 100}
FORGETS_EQUALLY = dict.fromkeys(RATIOS, 100)


def pairs(values: dict[str, int], sign: int) -> dict[str, dict[str, Estimate]]:
    return {
        recommended: {
            other: Estimate(d, d - 0.08, d + 0.08, "points")
            for other in RATIOS
            if other != recommended
            for d in [sign * (values[recommended] - values[other]) / 100]
        }
        for recommended in RECOMMENDED
    }


@pytest.mark.parametrize(
    ("accuracy", "cost", "expected", "start"),
    [
        (RECOMMENDED_BEST, FORGETS_MORE_AT_HIGHER_LR, "reproduced", "Accuracy at 1/3 of the base's lr"),
        (HIGH_BEST, FORGETS_EQUALLY, "contradicted", "Accuracy at 1 of the base's lr"),
        (HIGH_BEST, FORGETS_MORE_AT_HIGHER_LR, "inconclusive", "At 1 of the base's lr, accuracy and forgetting"),
        (FLAT, FORGETS_EQUALLY, "inconclusive", "No lr is significantly best."),
        (LOW_IS_ENOUGH, FORGETS_EQUALLY, "inconclusive", "No lr is significantly best."),
    ],
)
def test_recommended_learning_rates_are_compared_with_all_others(
    accuracy: dict[str, int], cost: dict[str, int], expected: str, start: str
) -> None:
    found, reason = verdict(pairs(accuracy, 1), pairs(cost, -1))
    assert found == expected
    assert reason.startswith(start)
