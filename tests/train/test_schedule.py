from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.train.schedule import ScheduleSettings, make_schedule


def test_wsd_warms_up_holds_and_falls_in_a_line() -> None:
    factor = make_schedule(ScheduleSettings(kind="wsd", warmup=0.1, decay=0.4, final=0.2), 100)
    assert factor(0) == pytest.approx(0.1)
    assert factor(4) == pytest.approx(0.5)
    assert [factor(step) for step in (9, 10, 30, 59)] == [1, 1, 1, 1]
    assert factor(60) == pytest.approx(1 - 0.8 / 40)
    assert factor(79) == pytest.approx(0.6)
    assert factor(99) == pytest.approx(0.2)


def test_cosine_is_half_way_in_the_middle() -> None:
    factor = make_schedule(ScheduleSettings(kind="cosine", warmup=0, final=0.1), 101)
    assert factor(0) == 1
    assert factor(25) == pytest.approx(0.1 + 0.9 * 0.5 * (1 + 2**-0.5))
    assert factor(50) == pytest.approx(0.55)
    assert factor(100) == pytest.approx(0.1)


def test_constant_only_warms_up() -> None:
    factor = make_schedule(ScheduleSettings(kind="constant", warmup=0.02, final=0.0), 100)
    assert [factor(step) for step in (0, 1, 2, 99)] == [0.5, 1, 1, 1]


@given(
    st.sampled_from(["constant", "cosine", "wsd"]),
    st.floats(0, 0.5),
    st.floats(0, 0.5),
    st.floats(0, 1),
    st.integers(1, 300),
)
def test_a_factor_never_leaves_zero_to_one_and_ends_at_final(
    kind: str, warmup: float, decay: float, final: float, steps: int
) -> None:
    settings = ScheduleSettings(kind=kind, warmup=warmup, decay=decay, final=final)  # type: ignore[arg-type]
    factor = make_schedule(settings, steps)
    factors = [factor(step) for step in range(steps)]
    assert all(0 <= value <= 1 for value in factors)
    if round(decay * steps) and kind == "wsd" and round(warmup * steps) < steps:
        assert factors[-1] == pytest.approx(final)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"warmup": 1.5}, "warmup is 1.5; it is a share and must lie between 0 and 1"),
        ({"final": -0.1}, "final is -0.1; it is a share and must lie between 0 and 1"),
        ({"warmup": 0.6, "decay": 0.6}, "warmup and decay add up to more than the whole run; lower one of them"),
    ],
)
def test_wrong_shares_are_one_sentence(wrong: dict[str, float], sentence: str) -> None:
    with pytest.raises(ValueError, match="warmup|final") as error:
        ScheduleSettings(**wrong)  # type: ignore[arg-type]
    assert str(error.value) == sentence


@pytest.mark.parametrize(("end", "half"), [("linear", 0.5), ("cosine", 0.5), ("sqrt", 1 - 0.5**0.5)])
def test_the_end_of_wsd_has_its_shape(end: str, half: float) -> None:
    """The square root falls fast at first; a cosine slowly at both ends."""
    factor = make_schedule(ScheduleSettings(warmup=0, decay=0.5, final=0.0, end=end), 200)  # type: ignore[arg-type]
    assert factor(99) == 1
    assert factor(149) == pytest.approx(half)
    assert factor(199) == pytest.approx(0)
    linear = 1 - 25 / 100
    assert (factor(124) > linear + 0.05) == (end == "cosine")
    assert (factor(124) < linear - 0.05) == (end == "sqrt")


def test_the_rate_follows_the_square_root_of_the_batch() -> None:
    settings = ScheduleSettings(kind="constant", warmup=0, batch_lr="sqrt")
    factor = make_schedule(settings, 6, [100, 100, 200, 200, 400, 400])
    assert [factor(step) for step in (0, 2, 4)] == pytest.approx([0.5, 0.5**0.5, 1])
    assert make_schedule(settings, 6)(0) == 1
    fixed = ScheduleSettings(kind="constant", warmup=0)
    assert make_schedule(fixed, 6, [100, 100, 200, 200, 400, 400])(0) == 1


def test_the_schedule_of_deepseek_v4_can_be_said() -> None:
    """2,000 steps of warm-up to 2.7e-4, then a cosine to 2.7e-5."""
    factor = make_schedule(ScheduleSettings(kind="cosine", warmup_steps=2000, final=0.1), 100_000)
    assert [2.7e-4 * factor(step) for step in (999, 1999, 99_999)] == pytest.approx([1.35e-4, 2.7e-4, 2.7e-5])
    assert 2.7e-4 * factor(2000 + 97_999 // 2) == pytest.approx((2.7e-4 + 2.7e-5) / 2, rel=1e-3)


def test_a_warm_up_longer_than_the_stage_is_one_sentence() -> None:
    with pytest.raises(ValueError, match="warmup_steps") as error:
        make_schedule(ScheduleSettings(warmup_steps=80, decay=0.3), 100)
    expected = "schedule.warmup_steps is 80, but the stage has 100 steps, its decay included; lower it"
    assert str(error.value) == expected
