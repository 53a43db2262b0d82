from __future__ import annotations

import pytest

from tutelage.lab.estimates import Estimate
from tutelage.lab.findings.mask import Gain, verdict

BETTER = Gain(Estimate(0.05, 0.02, 0.08, "points"), [0.04, 0.05, 0.06])
WORSE = Gain(Estimate(-0.05, -0.08, -0.02, "points"), [-0.04, -0.05, -0.06])
EQUAL = Gain(Estimate(0.0, -0.03, 0.03, "points"), [0.0, 0.0, 0.0])
ONE_SEED_AGAINST = Gain(Estimate(0.05, 0.02, 0.08, "points"), [0.09, 0.09, -0.03])


@pytest.mark.parametrize(
    ("questions", "form", "expected"),
    [
        (BETTER, EQUAL, "reproduced"),
        (EQUAL, BETTER, "reproduced"),
        (BETTER, BETTER, "reproduced"),
        (BETTER, WORSE, "inconclusive"),
        (EQUAL, EQUAL, "inconclusive"),
        (ONE_SEED_AGAINST, EQUAL, "inconclusive"),
        (WORSE, EQUAL, "contradicted"),
        (WORSE, ONE_SEED_AGAINST, "contradicted"),
    ],
)
def test_a_difference_is_significant_if_the_interval_and_every_seed_agree(
    questions: Gain, form: Gain, expected: str
) -> None:
    found, reason = verdict({"questions": questions, "form": form})
    assert found == expected
    assert str(questions.over_seeds) in reason
    assert str(form.over_seeds) in reason
