"""GRPO and its relatives: sample groups of answers, and make those likelier that beat their group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch

from tutelage.rl.advantages import ESTIMATORS, OF_GROUPS, EstimatorName
from tutelage.rl.passes import Columns
from tutelage.rl.sampling import Group
from tutelage.stages.base import StageContext
from tutelage.stages.rl import RolloutStage
from tutelage.stages.train_stage import TrainSetup
from tutelage.train.losses import Loss
from tutelage.train.policy_losses import ADVANTAGE, OLD, Normalisation, PolicyLossName, policy_loss
from tutelage.train.preference_losses import REFERENCE


class Grpo(RolloutStage, tag="grpo", tag_field="kind", frozen=True, kw_only=True):
    """Learn from rewards of sampled answers, without a value model.

    estimator:     rewards to advantages. "grpo" divides by the group's standard deviation, "dr_grpo" does not; "rloo"
                   and "maxrl" have other baselines; "reinforce" has none; "reinforce_pp" and "reinforce_pp_baseline"
                   normalise over all samples of a rollout.
    loss_type:     "clip" is that of PPO; "gspo" has one ratio for a sample; "cispo" clips weights, not gradients;
                   "reinforce" has no ratio.
    normalisation: "token": all tokens of a step count alike (DAPO); "sequence": all samples (GRPO); "constant": as
                   "token", with a fixed divisor (Dr. GRPO).
    """

    title: ClassVar[str] = "reinforcement learning (GRPO)"

    estimator: EstimatorName = "grpo"
    loss_type: PolicyLossName = "clip"
    normalisation: Normalisation = "token"

    def refusals(self) -> list[tuple[str, bool, str]]:
        grouped, steps = self.estimator in OF_GROUPS, self.minibatches * self.inner_epochs
        return [
            *super().refusals(),
            ("group_size", grouped and self.group_size < 2, f'"{self.estimator}" compares the samples of a group'),
            ("refill", self.refill > 0 and not grouped, f'"{self.estimator}" learns from groups of equal rewards too'),
            (
                "loss_type",
                self.loss_type == "reinforce" and steps > 1,
                "it is right for one step of a rollout; nothing would bound the others",
            ),
            (
                "normalisation",
                self.loss_type == "gspo" and self.normalisation != "sequence",
                'the ratio of "gspo" is that of a sample: set normalisation = "sequence"',
            ),
            ("clip_low", self.clip_low != 0.2 and self.loss_type in ("cispo", "reinforce"), "the loss does not use it"),
            ("clip_high", self.clip_high != 0.2 and self.loss_type == "reinforce", "the loss does not use it"),
        ]

    def loss(self) -> Loss:
        options = self.policy_options()
        return policy_loss(options._replace(loss_type=self.loss_type, normalisation=self.normalisation))

    def prepare(self, at: StageContext) -> TrainSetup:
        """Rollouts with advantages from rewards."""
        return self.set_up(at, self.start(at), None, self.assign, ())

    def assign(
        self, groups: Sequence[Group], columns: Sequence[Sequence[Columns]], kl: float
    ) -> list[list[dict[str, Any]]]:
        """One advantage for all tokens of a sample."""
        rewards = [[float(row.total or 0.0) for row in group] for group in groups]
        if self.in_reward():
            rewards = [
                [reward - kl * float(np.sum(one[OLD] - one[REFERENCE])) for reward, one in zip(*pair, strict=True)]
                for pair in zip(rewards, columns, strict=True)
            ]
        flat = torch.tensor([reward for group in rewards for reward in group], dtype=torch.float64)
        numbers = torch.tensor([number for number, group in enumerate(rewards) for _ in group])
        found = iter(ESTIMATORS[self.estimator](flat, numbers).tolist())
        return [[{ADVANTAGE: next(found)} for _ in group] for group in groups]
