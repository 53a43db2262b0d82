from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.cost.classes import cost_class
from tutelage.cost.examples import EXAMPLES, find_example
from tutelage.cost.hardware import PARTS, find_hardware
from tutelage.cost.inference import decode_step
from tutelage.cost.layout import Layout, bubble, check_layout, state_bytes
from tutelage.cost.modelled import model_memory
from tutelage.cost.shapes import SHAPES, parameters
from tutelage.cost.training import flops_6nd, training_cost


@pytest.mark.parametrize("name", EXAMPLES)
def test_published_figures_are_computed_within_their_tolerance(name: str) -> None:
    example = find_example(name)
    assert not [figure for figure in example.figures if not figure.within]
    assert all(figure.tolerance <= 0.05 for figure in example.figures)


def test_the_lectures_example_to_all_digits() -> None:
    """What its inputs give before the lecture rounds: 26.325M hours are 68.6 days, and 26M are 67.7."""
    cost = training_cost(flops_6nd(405e9, 15.6e12), PARTS["h100"], 16_000, 400e12, 2.0, 0.24)
    assert cost.flops == pytest.approx(3.7908e25, rel=1e-9)
    assert cost.hours == pytest.approx(26.325e6, rel=1e-9)
    assert (round(cost.days, 1), round(cost.dollars / 1e6, 2), round(cost.tonnes)) == (68.6, 52.65, 4423)
    rounded = training_cost(26e6 * 3600 * 400e12, PARTS["h100"], 16_000, 400e12, 2.0, 0.24)
    assert (round(rounded.days, 1), round(rounded.tonnes)) == (67.7, 4368)


def test_the_class_of_a_cost() -> None:
    """Llama 3 405B and DeepSeek-V3 are on two sides of the lecture's $10M."""
    names = [cost_class(dollars).name for dollars in (52e6, 10e6, 5.576e6, 450e3, 10e3, 450, 0)]
    assert names == ["pre-training", "pre-training", "reasoning RL", "RLHF", "fine-tuning", "prompting", "prompting"]


def test_state_is_sharded_and_activations_are_not() -> None:
    stages = {"a": {"state_bytes": 640e9, "activation_bytes": 5e9}, "b": {"state_bytes": 0, "activation_bytes": 14e9}}
    assert model_memory("h100x64", stages) == {"bytes_per_part": 15e9, "memory_of_part": 80e9, "fits": True}
    assert not model_memory("h100", stages)["fits"]


def test_an_unknown_example_is_refused_in_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"^there is no example 'gpt-4'; choose one of llama3-405b, deepseek-v3"):
        find_example("gpt-4")


def test_the_carbon_intensity_of_metas_own_figures() -> None:
    """39.3M hours and 11,390 t say 0.414 kg/kWh: intensity is an input, and never a constant."""
    cost = training_cost(0.0, PARTS["h100"], 1, 1.0, 0.0, 0.0)
    assert cost.tonnes == 0
    assert pytest.approx(0.414, abs=5e-4) == 11_390e3 / (39.3e6 * 0.7)


def test_hardware_is_named_with_its_number() -> None:
    assert find_hardware("h100x64") == (PARTS["h100"], 64)
    assert find_hardware("H100-PCIe") == (PARTS["h100-pcie"], 1)
    for wrong in ("h100x0", "x8", "tpu", "h100x-1", ""):
        with pytest.raises(ValueError, match="write one of a100"):
            find_hardware(wrong)


def test_layouts_of_llama3_are_valid() -> None:
    shape = SHAPES["llama3-405b"]
    for layout, count, sequence in (
        (Layout(8, 1, 16, 64), 8_192, 8_192),
        (Layout(8, 1, 16, 128), 16_384, 8_192),
        (Layout(8, 16, 16, 8), 16_384, 131_072),
    ):
        check_layout(layout, shape, count, sequence)
        assert state_bytes(layout, shape) < PARTS["h100"].memory


@pytest.mark.parametrize(
    ("layout", "name", "words"),
    [
        (Layout(dp=4), "llama3-8b", "but there are 8 accelerators"),
        (Layout(tp=3, dp=1), "llama3-8b", "does not divide the 32 query heads"),
        (Layout(tp=16, dp=1), "llama3-8b", "does not divide the 8 key-value heads"),
        (Layout(pp=33), "llama3-8b", "more than the 32 layers"),
        (Layout(cp=3), "llama3-8b", "multiple of 6 tokens"),
        (Layout(dp=8, ep=2), "llama3-8b", "has no experts"),
        (Layout(dp=12, ep=3), "mixtral-8x7b", "does not divide the 8 experts"),
        (Layout(dp=2, ep=8), "mixtral-8x7b", "does not divide dp x cp = 2"),
        (Layout(dp=0), "llama3-8b", "must be at least 1"),
    ],
)
def test_a_layout_that_cannot_be_is_refused_in_one_sentence(layout: Layout, name: str, words: str) -> None:
    count = 8 if words.startswith("but") else layout.count
    with pytest.raises(ValueError, match=words) as raised:
        check_layout(layout, SHAPES[name], count, 8192)
    assert "\n" not in str(raised.value)


SIZES = st.integers(1, 9)


@given(SIZES, SIZES, SIZES, SIZES, SIZES)
def test_every_layout_fits_or_is_refused(tp: int, cp: int, pp: int, dp: int, ep: int) -> None:
    layout, shape = Layout(tp, cp, pp, dp, ep), SHAPES["qwen3-30b-a3b"]
    try:
        check_layout(layout, shape, layout.count, 8192)
    except ValueError:
        return
    assert shape.heads % tp == 0 and (dp * cp) % ep == 0
    held = state_bytes(layout, shape) * layout.count
    assert held >= 18 * parameters(shape).total * 0.99


def test_the_bubble_is_that_of_the_paper() -> None:
    assert bubble(Layout(pp=1), 4) == 0
    assert bubble(Layout(pp=4), 12) == 3 / 15


def test_experts_are_read_as_they_are_touched() -> None:
    shape, part = SHAPES["deepseek-v3"], PARTS["h200"]
    one, many = (decode_step(shape, part, batch, 0) for batch in (1, 4096))
    count = parameters(shape)
    assert one.memory_seconds == pytest.approx(2 * count.active / part.bandwidth, rel=1e-3)
    assert many.memory_seconds == pytest.approx(2 * count.total / part.bandwidth, rel=1e-3)
    assert flops_6nd(1, 1) == 6
