"""Advantages: how much better a sample is than what was to be expected. Tensors only; a source for each function.

A group is all samples of one prompt. A sample without a reward (it abstained) is not among the rows. Where nothing
tells the samples of a group apart, their advantages are exactly 0.

Shape suffixes: R samples, G groups, T trained tokens of one sample.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch

EstimatorName = Literal["grpo", "dr_grpo", "rloo", "maxrl", "reinforce", "reinforce_pp", "reinforce_pp_baseline"]
# (rewards float64 [R], groups int64 [R], numbered from 0) -> advantages float64 [R].
Estimator = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def grpo(rewards_R: torch.Tensor, groups_R: torch.Tensor) -> torch.Tensor:
    """(r - mean) / std over the group, with the population's standard deviation (GRPO, arXiv 2402.03300, section
    4.1.2)."""
    centred_R = dr_grpo(rewards_R, groups_R)
    std_R = group_mean(centred_R.square(), groups_R).sqrt()
    return torch.where(std_R > 0, centred_R / std_R, 0.0)


def dr_grpo(rewards_R: torch.Tensor, groups_R: torch.Tensor) -> torch.Tensor:
    """r - mean of the group: without the standard deviation, which favours prompts that are almost always or almost
    never solved (Dr. GRPO, arXiv 2503.20783, section 3.1)."""
    centred_R = rewards_R - group_mean(rewards_R, groups_R)
    return torch.where(has_signal(rewards_R, groups_R), centred_R, 0.0)


def rloo(rewards_R: torch.Tensor, groups_R: torch.Tensor) -> torch.Tensor:
    """r - mean of the other samples of the group, which is G / (G - 1) (r - mean); 0 for a group of one (RLOO, arXiv
    2402.14740, section 3.3)."""
    count_R = group_count(groups_R)[groups_R]
    return dr_grpo(rewards_R, groups_R) * count_R / (count_R - 1).clamp(min=1)


def maxrl(rewards_R: torch.Tensor, groups_R: torch.Tensor) -> torch.Tensor:
    """(r - mean) / mean of the group: the gradient of the log-probability of success, for rewards of 0 and 1 (MaxRL,
    arXiv 2602.02710). 0 where no sample of the group was rewarded."""
    mean_R = group_mean(rewards_R, groups_R)
    return torch.where(mean_R > 0, dr_grpo(rewards_R, groups_R) / mean_R, 0.0)


def reinforce(rewards_R: torch.Tensor, groups_R: torch.Tensor) -> torch.Tensor:
    """The reward itself, without a baseline (Williams 1992)."""
    return rewards_R


def reinforce_pp(rewards_R: torch.Tensor, groups_R: torch.Tensor) -> torch.Tensor:
    """(r - mean) / std over all samples of the step (REINFORCE++, arXiv 2501.03262, Eq. 8)."""
    return normalise(rewards_R)


def reinforce_pp_baseline(rewards_R: torch.Tensor, groups_R: torch.Tensor) -> torch.Tensor:
    """r - mean of the group, then divided by the standard deviation over all samples of the step (REINFORCE++-baseline,
    arXiv 2501.03262, Eqs. 9 and 10)."""
    centred_R = dr_grpo(rewards_R, groups_R)
    std = centred_R.square().mean().sqrt()
    return centred_R / std if std > 0 else centred_R


ESTIMATORS: Mapping[EstimatorName, Estimator] = {
    "grpo": grpo,
    "dr_grpo": dr_grpo,
    "rloo": rloo,
    "maxrl": maxrl,
    "reinforce": reinforce,
    "reinforce_pp": reinforce_pp,
    "reinforce_pp_baseline": reinforce_pp_baseline,
}
# Those that compare the samples of one prompt, and so learn nothing from a group whose rewards are all equal.
OF_GROUPS = ("grpo", "dr_grpo", "rloo", "maxrl", "reinforce_pp_baseline")


def group_count(groups_R: torch.Tensor) -> torch.Tensor:
    """The samples of each group, int64 [G]."""
    return torch.bincount(groups_R)


def group_mean(values_R: torch.Tensor, groups_R: torch.Tensor) -> torch.Tensor:
    """The mean of each sample's group, [R]."""
    sums_G = torch.zeros(len(group_count(groups_R)), dtype=values_R.dtype).index_add(0, groups_R, values_R)
    return (sums_G / group_count(groups_R))[groups_R]


def has_signal(rewards_R: torch.Tensor, groups_R: torch.Tensor) -> torch.Tensor:
    """Whether the rewards of each sample's group differ, bool [R]: compared as they are, not by a mean or a standard
    deviation, which round."""
    blank_G = rewards_R.new_zeros(len(group_count(groups_R)))
    lowest_G = blank_G.scatter_reduce(0, groups_R, rewards_R, "amin", include_self=False)
    highest_G = blank_G.scatter_reduce(0, groups_R, rewards_R, "amax", include_self=False)
    return (lowest_G < highest_G)[groups_R]


def normalise(values: torch.Tensor) -> torch.Tensor:
    """Shifted to mean 0 and divided by the standard deviation of the population. Fewer than two values, or equal ones,
    have no spread to divide by: one value stays as it is, equal ones become 0."""
    if len(values) < 2:
        return values
    centred = values - values.mean()
    std = centred.square().mean().sqrt()
    return torch.zeros_like(values) if values.min() == values.max() else centred / std


def returns(rewards_T: torch.Tensor, gamma: float) -> torch.Tensor:
    """The discounted sum of the rewards from each token on, [T]: sum over i >= t of gamma^(i - t) r_i."""
    return gae(rewards_T, torch.zeros_like(rewards_T), gamma, 1.0)


def gae(rewards_T: torch.Tensor, values_T: torch.Tensor, gamma: float, lam: float) -> torch.Tensor:
    """Generalised advantage estimation over the trained tokens of one sample, [T] (arXiv 1506.02438, Eq. 16):
    A_t = sum over l of (gamma lam)^l delta_{t + l}, delta_t = r_t + gamma V_{t + 1} - V_t, with V = 0 after the end.
    Tokens that are context only, such as tool output, are not among T: they are neither an end nor a reward."""
    next_T = torch.cat([values_T[1:], values_T.new_zeros(1)])
    deltas = (rewards_T + gamma * next_T - values_T).tolist()
    advantages, total = [], 0.0
    for delta in reversed(deltas):
        total = delta + gamma * lam * total
        advantages.append(total)
    return torch.tensor(advantages[::-1], dtype=rewards_T.dtype)


def pass_at_k(samples: int, right: int, k: int) -> float:
    """The probability that one of `k` samples is right, unbiased from `samples` of which `right` are (arXiv 2107.03374,
    Eq. 1): 1 - C(n - c, k) / C(n, k)."""
    assert 1 <= k <= samples
    missed = 1.0
    for place in range(k):
        missed *= max(0, samples - right - place) / (samples - place)
    return 1 - missed


def no_signal_rate(rate: float, group_size: int) -> float:
    """The expected share of groups without signal where every sample is right with probability `rate`."""
    return rate**group_size + (1 - rate) ** group_size
