"""Advantages against published values, and what holds of every estimator."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tutelage.rl.advantages import (
    ESTIMATORS,
    OF_GROUPS,
    EstimatorName,
    gae,
    has_signal,
    no_signal_rate,
    normalise,
    pass_at_k,
    returns,
)

EIGHT = torch.tensor([1, 0, 0, 1, 0, 0, 0, 0], dtype=torch.float64)
ONE_GROUP = torch.zeros(8, dtype=torch.int64)


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("grpo", 1.732051, -0.577350),
        ("dr_grpo", 0.75, -0.25),
        ("rloo", 0.857143, -0.285714),
        ("maxrl", 3.0, -1.0),
        ("reinforce", 1.0, 0.0),
        ("reinforce_pp", 1.732051, -0.577350),
        ("reinforce_pp_baseline", 1.732051, -0.577350),
    ],
)
def test_published_values(name: EstimatorName, right: float, wrong: float) -> None:
    """Rewards 1, 0, 0, 1, 0, 0, 0, 0 of one prompt (2402.03300, 2503.20783, 2402.14740, 2602.02710)."""
    found = ESTIMATORS[name](EIGHT, ONE_GROUP)
    assert found.tolist() == pytest.approx([right if reward else wrong for reward in EIGHT], abs=1e-6)


def test_the_standard_deviation_of_a_group_is_that_of_the_population() -> None:
    """That of a sample, which others divide by, would give 1.620185 and -0.540062."""
    found = ESTIMATORS["grpo"](EIGHT, ONE_GROUP) * (7 / 8) ** 0.5
    assert found.tolist() == pytest.approx([1.620185 if reward else -0.540062 for reward in EIGHT], abs=1e-6)


def test_the_published_values_of_gae() -> None:
    """1506.02438, Eq. 16, with lambda 0.95 and gamma 1 or 0.99."""
    rewards, values = numbers(0, 0, 1), numbers(0.5, 0.4, 0.6)
    found = gae(rewards, values, 1.0, 0.95)
    assert found.tolist() == pytest.approx([0.451, 0.58, 0.4], abs=1e-9)
    assert (found + values).tolist() == pytest.approx([0.951, 0.98, 1.0], abs=1e-9)
    assert gae(rewards, values, 0.99, 0.95).tolist() == pytest.approx([0.432273, 0.5702, 0.4], abs=1e-6)


def test_pain_9_returns_of_a_sample_with_a_tool_answer_are_not_cut_there() -> None:
    """verl PR 6376: [0, 0.5, 1] for [0.5, 1, 1]. Rewards of the trained tokens alone are given: context has none."""
    weights, rewards = numbers(1, 1, 0, 1), numbers(0, 0.5, 9, 1)
    assert returns(rewards[weights > 0], 0.5).tolist() == pytest.approx([0.5, 1.0, 1.0])


def test_pain_49_one_miss_among_equal_rewards() -> None:
    """verl PR 6348: by E[x^2] - E[x]^2 the advantage of the miss was -2,075."""
    found = ESTIMATORS["grpo"](numbers(0, *[0.95] * 7), ONE_GROUP)
    assert found.tolist() == pytest.approx([-(7**0.5), *[1 / 7**0.5] * 7], abs=1e-9)


@pytest.mark.parametrize("name", OF_GROUPS)
def test_pain_50_equal_rewards_are_no_signal(name: EstimatorName) -> None:
    """OpenRLHF #1270: equality decides, so that rounding of a mean cannot make a signal of 0.1 three times."""
    for values in ([0.4] * 4, [0.1] * 3):
        groups = torch.zeros(len(values), dtype=torch.int64)
        assert ESTIMATORS[name](numbers(*values), groups).tolist() == [0.0] * len(values)
        assert not has_signal(numbers(*values), groups).any()


@pytest.mark.parametrize("name", OF_GROUPS)
def test_pain_51_a_group_of_one_has_no_advantage(name: EstimatorName) -> None:
    """verl 1dda039: mean 0 and std 1 gave a group that was reduced to one row its raw reward."""
    found = ESTIMATORS[name](numbers(0.7, 1, 0), torch.tensor([0, 1, 1]))
    assert found[0] == 0
    assert found[1] > 0 > found[2]


def test_pain_35_whitening_of_one_token_leaves_it() -> None:
    """ROLL #475: it raised."""
    assert normalise(numbers(0.3)).tolist() == [0.3]
    assert normalise(numbers()).tolist() == []
    assert normalise(numbers(2, 2)).tolist() == [0, 0]


@given(
    st.lists(st.lists(st.floats(-10, 10), min_size=1, max_size=6), min_size=1, max_size=5),
    st.sampled_from(OF_GROUPS),
    st.floats(-5, 5),
)
def test_advantages_of_a_group_sum_to_zero_and_do_not_depend_on_other_groups(
    rows: list[list[float]], name: EstimatorName, other: float
) -> None:
    estimator = ESTIMATORS[name]
    rewards = numbers(*[reward for row in rows for reward in row])
    groups = torch.tensor([number for number, row in enumerate(rows) for _ in row])
    found = estimator(rewards, groups)
    assert torch.isfinite(found).all()
    for number in range(len(rows)):
        assert float(found[groups == number].sum()) == pytest.approx(0, abs=1e-6 * max(1.0, float(found.abs().max())))
    if name == "reinforce_pp_baseline":  # divides by the spread of the whole step
        return
    more = estimator(torch.cat([rewards, numbers(other, 1)]), torch.cat([groups, torch.tensor([len(rows)] * 2)]))
    torch.testing.assert_close(more[: len(rewards)], found)


def test_published_rates_of_groups_without_signal_and_of_pass_at_k() -> None:
    """p = 0.1819 with groups of 2, 4, 8, 16 (CoursIA #10603); pass@k of 1 right in 4 (2107.03374), where the bootstrap
    says 0.684 (pain 60)."""
    rates = [no_signal_rate(0.1819, size) for size in (2, 4, 8, 16)]
    assert rates == pytest.approx([0.702, 0.449, 0.201, 0.040], abs=5e-4)
    assert pass_at_k(4, 1, 2) == pytest.approx(0.5)
    assert pass_at_k(4, 1, 4) == pytest.approx(1.0)
    assert pass_at_k(4, 0, 4) == 0
