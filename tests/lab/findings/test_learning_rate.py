from __future__ import annotations

import pytest

from tutelage.lab.figures import Estimate
from tutelage.lab.findings.learning_rate import ADVISED, SHARES, verdict

# How many of 100 questions are answered, and what the base text costs, at each rate. Differences of 10 are clear.
ADVISED_BEST = {"3": 20, "1": 60, "1/3": 65, "1/10": 50, "1/30": 10, "1/300": 0}
HIGH_BEST = {"3": 40, "1": 90, "1/3": 65, "1/10": 50, "1/30": 10, "1/300": 0}
FLAT = dict.fromkeys(SHARES, 50)
LOW_IS_ENOUGH = {"3": 20, "1": 60, "1/3": 65, "1/10": 60, "1/30": 62, "1/300": 61}
FORGETS_MORE_WHERE_HIGHER = {"3": 300, "1": 200, "1/3": 130, "1/10": 110, "1/30": 100, "1/300": 100}
FORGETS_ALIKE = dict.fromkeys(SHARES, 100)


def pairs(values: dict[str, int], sign: int) -> dict[str, dict[str, Estimate]]:
    return {
        advised: {
            other: Estimate(d, d - 0.08, d + 0.08, "points")
            for other in SHARES
            if other != advised
            for d in [sign * (values[advised] - values[other]) / 100]
        }
        for advised in ADVISED
    }


@pytest.mark.parametrize(
    ("answered", "cost", "expected", "part"),
    [
        (ADVISED_BEST, FORGETS_MORE_WHERE_HIGHER, "reproduced", "At 1/3 of the base's rate"),
        (HIGH_BEST, FORGETS_ALIKE, "contradicted", "At 1 of the base's rate"),
        (HIGH_BEST, FORGETS_MORE_WHERE_HIGHER, "not at this scale", "At 1 of the base's rate it answers more and"),
        (FLAT, FORGETS_ALIKE, "not at this scale", "No rate stands out."),
        (LOW_IS_ENOUGH, FORGETS_ALIKE, "not at this scale", "No rate stands out."),
    ],
)
def test_the_advised_rates_are_held_against_all_others(
    answered: dict[str, int], cost: dict[str, int], expected: str, part: str
) -> None:
    ruling, why = verdict(pairs(answered, 1), pairs(cost, -1))
    assert ruling == expected
    assert why.startswith(part)
