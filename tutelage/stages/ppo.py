"""PPO: sample answers, estimate with a value head what was to be expected of each token, and move by clipped ratios."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch

from tutelage.config import SettingsError
from tutelage.model.hub import Checkpoint
from tutelage.rl.passes import Columns
from tutelage.rl.sampling import Group
from tutelage.rl.token_advantages import HEAD, GaeOptions, adapt_kl, before_step, token_advantages
from tutelage.stages.base import StageContext
from tutelage.stages.rl import RolloutStage
from tutelage.stages.train_stage import TrainSetup
from tutelage.train.losses import Loss
from tutelage.train.policy_losses import OLD, OLD_VALUE, RETURN, ValueOptions, ppo_loss


class Ppo(RolloutStage, tag="ppo", tag_field="kind", frozen=True, kw_only=True):
    """Learn from rewards of sampled answers, with a value head that starts at zero (PPO, arXiv 1707.06347; for language
    models, InstructGPT, arXiv 2203.02155, appendix C.4). Replayed text makes it PPO-ptx.

    gamma, lam:   discount and trace decay of generalised advantage estimation.
    whiten:       advantages of a rollout get mean 0 and standard deviation 1 over its trained tokens.
    value_weight, value_clip: factor of the value loss, and how far a value moves freely from its old one.
    kl_target, kl_horizon: the divergence of a sample, in nats, that `kl` is adapted to, and in how many samples (arXiv
                  1909.08593, section 2.2). None: `kl` stays as it is.
    """

    title: ClassVar[str] = "reinforcement learning (PPO)"
    kl_default: ClassVar[str] = "reward"

    prompts: int = 64
    group_size: int = 1
    minibatches: int = 2
    inner_epochs: int = 2
    kl: float = 0.05
    gamma: float = 1.0
    lam: float = 0.95
    whiten: bool = True
    value_weight: float = 0.5
    value_clip: float = 0.2
    kl_target: float | None = None
    kl_horizon: int = 10_000

    def refusals(self) -> list[tuple[str, bool, str]]:
        return [
            *super().refusals(),
            ("refill", self.refill > 0, "the value head, not the group, says what was to be expected"),
            ("gamma", not 0 < self.gamma <= 1, "it must be above 0 and at most 1"),
            ("lam", not 0 <= self.lam <= 1, "it must lie between 0 and 1"),
            ("value_weight", self.value_weight <= 0, "it must be above 0: the head would not learn"),
            ("value_clip", self.value_clip <= 0, "it must be above 0"),
            ("kl_target", (self.kl_target or 1) <= 0, "it must be above 0"),
            ("kl_target", self.kl_target is not None and not self.in_reward(), "it adapts kl in the reward, above 0"),
            ("kl_horizon", self.kl_horizon < 1, "it is a number of samples: at least 1"),
            ("kl_horizon", self.kl_horizon != 10_000 and self.kl_target is None, "it belongs to kl_target"),
        ]

    def loss(self) -> Loss:
        return ppo_loss(self.policy_options(), ValueOptions(self.value_weight, self.value_clip))

    def start(self, at: StageContext) -> Checkpoint:
        """The parent with a head "value" of zeros, or with its own."""
        checkpoint = super().start(at)
        model = checkpoint.model
        if model.config.hf_parameters is not None:
            raise SettingsError(f"stage {at.name}: a value head needs a built-in architecture; use kind 'grpo'")
        if HEAD not in model.heads:
            model.set_head(HEAD, torch.zeros(1, model.config.width, device=model.embedding.weight.device))
        return checkpoint

    def prepare(self, at: StageContext) -> TrainSetup:
        """Rollouts with values, advantages and returns. A new head must say 0 of every token of the first step."""
        adapt = self.adapted if self.kl_target is not None else None
        checkpoint = self.start(at)
        setup = self.set_up(at, checkpoint, before_step, self.assign, (OLD, OLD_VALUE, RETURN), adapt)
        if any(bool(weight.any()) for weight in checkpoint.model.heads[HEAD].parameters()):
            return setup
        return replace(setup, loss=setup.loss._replace(first_step={**setup.loss.first_step, "value": 0.0}))

    def adapted(self, kl: float, measured: float) -> float:
        """The next factor of the divergence."""
        assert self.kl_target is not None
        return adapt_kl(kl, measured, self.kl_target, self.prompts * self.group_size / self.kl_horizon)

    def assign(
        self, groups: Sequence[Group], columns: Sequence[Sequence[Columns]], kl: float
    ) -> list[list[dict[str, Any]]]:
        """Advantage and return of each token."""
        options = GaeOptions(self.gamma, self.lam, kl if self.in_reward() else 0.0, self.whiten, self.mask_cut_off)
        return token_advantages(groups, columns, options)
