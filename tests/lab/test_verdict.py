from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tutelage
from tutelage.lab.estimates import Estimate
from tutelage.lab.results import read_results
from tutelage.lab.verdict import Effect, decide, holm, p_value

DOCS = Path(tutelage.__file__).parents[1] / "docs" / "lab"


def effect(value: float, half: float = 0.05, by_seed: tuple[float, ...] = (), arms: tuple[float, ...] = ()) -> Effect:
    return Effect(
        "difference",
        Estimate(value, value - half, value + half, "points"),
        by_seed or (value, value, value),
        [Estimate(arm, arm, arm) for arm in arms],
    )


UP, FLAT, DOWN, CONTROL = effect(0.2), effect(0.01), effect(-0.2), effect(0.5)
SMALL = effect(0.02, half=0.01)
ONE_SEED_AGAINST = effect(0.2, by_seed=(0.4, 0.3, -0.1))


def reversed_effect(one: Effect) -> Effect:
    e = one.estimate
    return msgspec.structs.replace(
        one, estimate=Estimate(-e.value, -e.high, -e.low, e.kind), by_seed=[-seed for seed in one.by_seed]
    )


@pytest.mark.parametrize(
    ("primary", "needed", "expected", "words"),
    [
        ([UP], "all", "reproduced", ""),
        ([UP, UP], "all", "reproduced", ""),
        ([UP, FLAT], "all", "not at this scale", "the interval includes 0"),
        ([UP, FLAT], "any", "reproduced", ""),
        ([DOWN], "all", "contradicted", ""),
        ([DOWN, FLAT], "any", "contradicted", ""),
        ([UP, DOWN], "any", "not at this scale", "the other way"),
        ([UP, DOWN], "all", "not at this scale", "the other way"),
        ([SMALL], "all", "not at this scale", "smaller than 3 points"),
        ([ONE_SEED_AGAINST], "all", "not at this scale", "the seeds disagree"),
        ([effect(0.0, arms=(0.01, 0.01))], "all", "not at this scale", "at the floor"),
        ([effect(0.0, arms=(0.99, 0.98))], "all", "not at this scale", "at the ceiling"),
    ],
)
def test_the_rule(primary: list[Effect], needed: str, expected: str, words: str) -> None:
    verdict, reason = decide(primary, CONTROL, needed)  # type: ignore[arg-type]
    assert verdict == expected
    assert words in reason
    assert all(str(one) in reason for one in [*primary, CONTROL])


@pytest.mark.parametrize("control", [FLAT, DOWN, ONE_SEED_AGAINST])
@pytest.mark.parametrize("primary", [UP, DOWN])
def test_a_control_that_does_not_fire_withholds_the_verdict(primary: Effect, control: Effect) -> None:
    verdict, reason = decide([primary], control)
    assert verdict == "not at this scale"
    assert "The control does not fire" in reason


def test_an_effect_of_several_that_luck_explains_is_not_enough() -> None:
    weak = effect(0.06, half=0.055)  # alone significant
    assert decide([weak], CONTROL)[0] == "reproduced"
    assert decide([weak, FLAT, FLAT], CONTROL, "any")[0] == "not at this scale"


def test_holm_is_as_published() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == [True, False, False, True]
    assert holm([0.04]) == [True]
    assert p_value(Estimate(1.96, 0.0, 3.92)) == pytest.approx(0.05, abs=1e-3)
    assert p_value(Estimate(0.0, 0.0, 0.0)) == 1.0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_the_smallest_and_no_more_than_without_correction(p_values: list[float]) -> None:
    rejected = holm(p_values)
    assert all(p <= 0.05 for p, one in zip(p_values, rejected, strict=True) if one)
    kept = [p for p, one in zip(p_values, rejected, strict=True) if not one]
    assert all(p <= q for p, one in zip(p_values, rejected, strict=True) if one for q in kept)


def test_every_published_verdict_follows_from_its_file_and_flips_with_its_effects() -> None:
    for result in read_results(DOCS):
        assert decide(result.primary, result.control, result.needed) == (result.verdict, result.reason)
        assert all(len(one.by_seed) >= 3 for one in result.primary), result.number
        flipped = decide([reversed_effect(one) for one in result.primary], result.control, result.needed)[0]
        opposite = {"reproduced": "contradicted", "contradicted": "reproduced"}
        if len(result.primary) == 1 or result.verdict == "reproduced":
            assert flipped == opposite.get(result.verdict, result.verdict), result.number
        else:
            assert flipped != "reproduced" or result.verdict == "contradicted", result.number
        broken = msgspec.structs.replace(result.control, by_seed=[-1.0, 1.0])
        assert decide(result.primary, broken, result.needed)[0] == "not at this scale"
