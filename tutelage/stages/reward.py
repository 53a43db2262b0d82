"""Reward models: learn to score answers, from pairs (Bradley-Terry)."""

from __future__ import annotations

from typing import ClassVar

import torch

from tutelage.batching.store import Store
from tutelage.config import SettingsError
from tutelage.model.hub import Checkpoint
from tutelage.stages.base import RecipeTables, StageContext, TrainSetup
from tutelage.stages.preferences import PreferenceStage
from tutelage.train.losses import Loss
from tutelage.train.preference_losses import reward_loss

HEAD = "reward"


class RewardModel(PreferenceStage, tag="reward", tag_field="kind", frozen=True, kw_only=True):
    """Learn to score chosen answers above rejected ones. The score is the head "reward", one number, at the last
    token of an answer: the token that ends it.

    margin:   by how much the chosen score must lead.
    centring: factor of the squared sum of both scores, which keeps scores around 0, such as 0.01.
    """

    title: ClassVar[str] = "reward model"
    default_epochs: ClassVar[int] = 1  # it overfits after one epoch (arXiv 2203.02155, appendix C.2)

    margin: float = 0.0
    centring: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.margin < 0 or self.centring < 0:
            raise SettingsError(f"margin is {self.margin} and centring {self.centring}; neither can be negative")

    def loss(self) -> Loss:
        return reward_loss(self.margin, self.centring, self.replay_weight)

    def start(self, at: StageContext) -> Checkpoint:
        """The parent with a head "reward" of zeros, so that every score is 0 before training; or with its own."""
        checkpoint = super().start(at)
        model = checkpoint.model
        if model.config.hf_parameters is not None:
            raise SettingsError(
                f"stage {at.name}: a reward model needs a built-in architecture, and its model is another"
            )
        if HEAD not in model.heads:
            model.set_head(HEAD, torch.zeros(1, model.config.width, device=model.embedding.weight.device))
        return checkpoint

    def default_suites(self, recipe: RecipeTables) -> list[str]:
        return ["preferences"]  # nobody asks it to write

    def prepare(self, at: StageContext) -> TrainSetup:
        """Pairs of answers; there is no reference."""
        checkpoint = self.start(at)
        return self.set_up(at, checkpoint, self.stores(at, checkpoint, "none"))

    def _held_out(self, at: StageContext) -> dict[str, Store]:
        return {name: store.held_out for name, store in self.stores(at, self.start(at), "none").items()}
