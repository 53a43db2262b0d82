"""PPO: rewards and values to an advantage and a return for each token.

Shape suffix: T trained tokens of one sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from tutelage.model.transformer import Transformer
from tutelage.records import Batch
from tutelage.rl.advantages import gae, normalise
from tutelage.rl.passes import Columns, at_positions
from tutelage.rl.sampling import Group, SampleRow
from tutelage.train.policy_losses import ADVANTAGE, OLD, OLD_VALUE, RETURN
from tutelage.train.preference_losses import REFERENCE

HEAD = "value"


class GaeOptions(NamedTuple):
    """Discount and trace decay; the factor of the divergence in the reward; whether advantages are whitened, and
    whether samples that were cut off are left out of that."""

    gamma: float
    lam: float
    kl: float
    whiten: bool
    mask_cut_off: bool


def before_step(model: Transformer, batch: Batch) -> dict[str, torch.Tensor]:
    """The log-probabilities and values of samples by the policy that wrote them, [N]."""
    outputs = model.outputs(batch)
    return {OLD: at_positions(outputs.logprobs, batch), OLD_VALUE: outputs.heads[HEAD]}


def token_advantages(
    groups: Sequence[Group], columns: Sequence[Sequence[Columns]], options: GaeOptions
) -> list[list[dict[str, Any]]]:
    """Advantage and return of each token of each sample. The reward is on the last sampled token, the divergence from
    the reference on every one (InstructGPT, arXiv 2203.02155, Eq. 2). Whitening is over all trained tokens of the
    rollout, before it is cut into steps."""
    rows = [row for group in groups for row in group]
    flat = [one for own in columns for one in own]
    made = [_estimated(row, one, options) for row, one in zip(rows, flat, strict=True)]
    trained = [
        one for row, one in zip(rows, made, strict=True) if not (options.mask_cut_off and row.finish_reason != "stop")
    ]
    if options.whiten and trained:
        white = normalise(torch.cat([one[ADVANTAGE] for one in trained]))
        for one, part in zip(trained, white.split([len(one[ADVANTAGE]) for one in trained]), strict=True):
            one[ADVANTAGE] = part
    found = iter({name: values_T.numpy() for name, values_T in one.items()} for one in made)
    return [[next(found) for _ in group] for group in groups]


def _estimated(row: SampleRow, columns: Columns, options: GaeOptions) -> dict[str, torch.Tensor]:
    assert row.total is not None
    rewards = np.zeros(len(row.tokens))
    if options.kl:
        rewards -= options.kl * (columns[OLD] - columns[REFERENCE])
    rewards[-1] += row.total
    values_T = torch.from_numpy(columns[OLD_VALUE])
    advantages_T = gae(torch.from_numpy(rewards), values_T, options.gamma, options.lam)
    return {ADVANTAGE: advantages_T, RETURN: advantages_T + values_T}


def adapt_kl(kl: float, measured: float, target: float, share: float) -> float:
    """The next factor of the divergence: a little higher where it was above its target, by at most a fifth of `share`,
    the samples of a rollout over the horizon (arXiv 1909.08593, section 2.2)."""
    error = min(0.2, max(-0.2, measured / target - 1))
    return kl * (1 + error * share)
