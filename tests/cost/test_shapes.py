from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.cost.shapes import SHAPES, Experts, cache_bytes_per_token, experts_touched, parameters

# Counted from the published weights; active counts with both vocabulary matrices, and without the input embedding.
PUBLISHED = {
    "llama3-8b": (8_030_261_248, 8_030_261_248, None),
    "llama3-70b": (70_553_706_496, 70_553_706_496, None),
    "llama3-405b": (405_853_388_800, 405_853_388_800, None),
    "mixtral-8x7b": (46_702_792_704, 12_879_925_248, None),
    "olmoe-1b-7b": (6_919_161_856, 1_282_017_280, None),
    "qwen3-30b-a3b": (30_532_122_624, 3_353_032_704, None),
    "qwen3-235b-a22b": (235_093_634_560, 22_190_763_520, None),
    "deepseek-v2-lite": (15_706_484_224, 2_661_150_208, 2_451_435_008),
    "deepseek-v3": (671_026_404_352, 37_552_282_624, 36_625_603_584),
    "gpt-oss-20b": (20_914_757_184, 4_187_440_704, 3_608_307_264),
    "gpt-oss-120b": (116_829_156_672, 5_711_982_912, 5_132_849_472),
}


@pytest.mark.parametrize("name", SHAPES)
def test_parameters_are_those_of_the_published_weights(name: str) -> None:
    total, active, without_lookup = PUBLISHED[name]
    found = parameters(SHAPES[name])
    assert (found.total, found.active) == (total, active)
    assert found.active_without_lookup == (without_lookup or active - SHAPES[name].vocab * SHAPES[name].width)


def test_the_cache_of_published_models() -> None:
    assert cache_bytes_per_token(SHAPES["llama3-8b"]) == 131_072
    assert cache_bytes_per_token(SHAPES["llama3-405b"]) == 516_096
    assert cache_bytes_per_token(SHAPES["deepseek-v3"]) == 61 * 576 * 2 == 70_272


def test_experts_touched_by_a_batch() -> None:
    experts = SHAPES["deepseek-v3"].experts
    assert experts is not None
    assert [round(experts_touched(experts, batch), 1) for batch in (1, 32, 256)] == [8.0, 163.3, 255.9]


@given(st.integers(1, 64), st.integers(1, 64), st.integers(1, 500))
def test_a_batch_touches_no_fewer_than_one_token_and_no_more_than_all(count: int, used: int, batch: int) -> None:
    experts = Experts(count, min(used, count), 8)
    touched = experts_touched(experts, batch)
    assert experts.used - 1e-9 <= touched <= count + 1e-9
    assert touched <= batch * experts.used + 1e-9
