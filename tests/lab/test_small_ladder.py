from __future__ import annotations

import math

import numpy as np
import pytest

from tutelage.lab import small_ladder as ladder
from tutelage.lab.findings import isoflop, loss_and_compute, rate_and_size
from tutelage.lab.run_cache import read_recipe


def test_every_budget_has_sizes_on_both_sides_of_twenty_tokens_per_parameter() -> None:
    for budget in ladder.BUDGETS:
        ratios = [budget / 6 / ladder.matrices(width) ** 2 for width in ladder.widths_of(budget)]
        assert len(ratios) == ladder.SIZES_OF_BUDGET
        assert min(ratios) < 10 and max(ratios) > 40


def test_no_training_reads_more_than_the_world_has_and_no_stage_has_two_trainings() -> None:
    for arms in (ladder.budget_arms(), ladder.sweep_arms()):
        assert max(arm.steps for arm in arms) * ladder.BATCH < 400 * ladder.PEOPLE
        assert len({arm.stage for arm in arms}) == len(arms)
        recipe = read_recipe(ladder.recipe(32, arms), "ladder", ladder.quick(arms, 32))
        assert all(stage.lr for stage in recipe.stages.values())


@pytest.mark.parametrize(("place", "expected"), [(2.0, 2.0), (9.0, 4.0), (-3.0, 0.0)])
def test_a_minimum_is_found_within_the_points(place: float, expected: float) -> None:
    log = np.linspace(0, 4, 5)
    found = ladder.minimum(log, 3 + 0.1 * (log - place) ** 2)
    assert found.place == pytest.approx(expected, abs=0.01)
    assert np.allclose(found.draws, expected, atol=0.01)
    assert (found.rise > 1e-9) == (expected == place)


def test_known_laws_are_recovered() -> None:
    budgets = np.array(ladder.BUDGETS)
    assert isoflop.slope(budgets, 0.5 * np.log(budgets) + 1) == pytest.approx(0.5)
    assert rate_and_size.exponent(budgets, -0.3 * np.log(budgets)) == pytest.approx(-0.3)
    gamma, wrong = loss_and_compute.fitted(np.log(budgets), -0.05 * np.log(budgets) + math.log(9))
    assert (gamma, wrong) == (pytest.approx(0.05), pytest.approx(0, abs=1e-9))
