from __future__ import annotations

import pytest

from tutelage.lab.figures import Estimate
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
        (BETTER, WORSE, "not at this scale"),
        (EQUAL, EQUAL, "not at this scale"),
        (ONE_SEED_AGAINST, EQUAL, "not at this scale"),
        (WORSE, EQUAL, "contradicted"),
        (WORSE, ONE_SEED_AGAINST, "contradicted"),
    ],
)
def test_a_difference_counts_where_the_interval_and_every_seed_say_so(
    questions: Gain, form: Gain, expected: str
) -> None:
    ruling, why = verdict({"questions": questions, "form": form})
    assert ruling == expected
    assert str(questions.over_seeds) in why
    assert str(form.over_seeds) in why
