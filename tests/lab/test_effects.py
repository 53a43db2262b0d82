"""Effects of outcomes that are made up, so that their truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from tutelage.lab.effects import mean_effect, no_worse
from tutelage.lab.verdict import decide

ITEMS = np.arange(200)
EVERY_SECOND = (ITEMS % 2 == 0).astype(float)


@pytest.mark.parametrize(("lost", "verdict"), [(0, "reproduced"), (30, "contradicted")])
def test_no_worse_is_shown_by_equal_outcomes_and_flips_where_much_is_lost(lost: int, verdict: str) -> None:
    worse = np.where(lost > ITEMS, 0, EVERY_SECOND)
    effect = no_worse(mean_effect("right, one minus other", [worse] * 3, [EVERY_SECOND] * 3), 0.03)
    assert effect.name == "right, one minus other, above −3 points"
    assert effect.estimate.value == pytest.approx(0.03 - lost / 2 / len(ITEMS))
    control = mean_effect("control", [EVERY_SECOND] * 3, [np.zeros(len(ITEMS))] * 3)
    assert decide([effect], control)[0] == verdict
