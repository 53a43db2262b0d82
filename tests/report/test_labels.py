from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.report.labels import (
    figure_label,
    format_bytes,
    format_change,
    format_count,
    format_points,
    in_display_order,
    prompt_set_label,
    rate_label,
)


@pytest.mark.parametrize(
    ("count", "text"),
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
def test_counts_are_short(count: int, text: str) -> None:
    assert format_count(count) == text


@given(st.integers(0, 10**12 - 10**9))
def test_a_short_count_is_within_half_a_percent(count: int) -> None:
    text = format_count(count)
    assert re.fullmatch(r"[\d.,]+[kMB]?", text)
    unit = {"k": 1e3, "M": 1e6, "B": 1e9}.get(text[-1], 1)
    assert float(text.rstrip("kMB").replace(",", "")) * unit == pytest.approx(count, rel=0.0051)


def test_differences_have_a_sign_unless_they_are_zero() -> None:
    points = [format_points(difference) for difference in (0.0741, -0.0741, 0.0001, -0.0001)]
    assert points == ["+7.4", "−7.4", "0.0", "0.0"]
    assert (format_change(0.2), format_change(-0.015)) == ("+20.0%", "−1.5%")


def test_bytes_are_shown_as_mib_or_gib() -> None:
    assert (format_bytes(435 * 2**20), format_bytes(3 * 2**30)) == ("435 MiB", "3.00 GiB")


def test_a_name_without_a_label_is_shown_by_its_parts() -> None:
    assert rate_label("format.verbatim") == "answers copied verbatim from training"
    assert rate_label("before.format.compliant") == "before: keeps the chat format"
    assert rate_label("knowledge.trained.three_step") == "knowledge: trained, three step"
    assert prompt_set_label("out_of_domain") == "Prompts far from that domain"
    assert prompt_set_label("in_verse") == "In verse"
    assert figure_label("held_out.chat") == "held-out loss, chat"
    assert figure_label("forgetting.world.increase") == "loss on base text, world: change"
    assert in_display_order({"zeal", "knowledge.held_out", "format.compliant"}) == [
        "format.compliant",
        "knowledge.held_out",
        "zeal",
    ]
