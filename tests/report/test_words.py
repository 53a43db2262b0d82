from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.report.words import change, figure_words, in_order, memory, points, rate_words, set_words, short


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0"),
        (837, "837"),
        (9_876, "9,876"),
        (12_345, "12.3k"),
        (321_024, "321k"),
        (999_900, "1.00M"),
        (1_049_728, "1.05M"),
        (99_960_000, "100M"),
        (4_321_000_000, "4.32B"),
    ],
)
def test_counts_are_short(count: int, said: str) -> None:
    assert short(count) == said


@given(st.integers(0, 10**12 - 10**9))
def test_a_short_count_is_within_half_a_percent(count: int) -> None:
    said = short(count)
    assert re.fullmatch(r"[\d.,]+[kMB]?", said)
    unit = {"k": 1e3, "M": 1e6, "B": 1e9}.get(said[-1], 1)
    assert float(said.rstrip("kMB").replace(",", "")) * unit == pytest.approx(count, rel=0.0051)


def test_differences_carry_their_sign_unless_they_are_none() -> None:
    assert (points(0.0741), points(-0.0741), points(0.0001), points(-0.0001)) == ("+7.4", "−7.4", "0.0", "0.0")
    assert (change(0.2), change(-0.015)) == ("+20.0%", "−1.5%")


def test_memory_is_said_in_its_unit() -> None:
    assert (memory(435 * 2**20), memory(3 * 2**30)) == ("435 MiB", "3.00 GiB")


def test_what_is_not_known_by_heart_is_taken_apart() -> None:
    assert rate_words("format.verbatim") == "answers are copied from training, letter for letter"
    assert rate_words("knowledge.trained.three_step") == "knowledge: trained, three step"
    assert set_words("out_of_domain") == "Prompts far from that domain"
    assert set_words("in_verse") == "In verse"
    assert figure_words("held_out.chat") == "held-out loss, chat"
    assert figure_words("forgetting.world.increase") == "loss on base text, world: change"
    assert in_order({"zeal", "knowledge.held_out", "format"}) == ["format", "knowledge.held_out", "zeal"]
