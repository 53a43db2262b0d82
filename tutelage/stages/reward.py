"""Reward models: learn to score answers, from pairs or rankings of answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal

import torch

from tutelage.batching.datasets import SplitGroups
from tutelage.batching.preferences import MARGIN, ranked_groups
from tutelage.batching.store import Store
from tutelage.config import SettingsError
from tutelage.model.hub import Checkpoint
from tutelage.stages.base import RecipeTables, StageContext
from tutelage.stages.preferences import PreferenceStage
from tutelage.stages.train_stage import TrainSetup
from tutelage.train.losses import Loss
from tutelage.train.reward_losses import RankingLossName, reward_loss

HEAD = "reward"


class RewardModel(PreferenceStage, tag="reward", tag_field="kind", frozen=True, kw_only=True):
    """Learn to score better answers above worse ones. The score is the head "reward", one number, at the last token of
    an answer: the token that ends it.

    loss_type: of a ranking, "pairs" is Bradley-Terry on all pairs of its answers, and "plackett_luce" the likelihood of
               the whole order. Of pairs both are the same.
    margin:    by how much the better score must lead; "rows": by the field "margin" of each pair.
    centring:  factor of the squared sum of both scores, which keeps scores around 0, such as 0.01.
    """

    title: ClassVar[str] = "reward model"
    groups: ClassVar[Callable[..., SplitGroups]] = staticmethod(ranked_groups)
    default_epochs: ClassVar[int] = 1  # it overfits after one epoch (arXiv 2203.02155, appendix C.2)

    loss_type: RankingLossName = "pairs"
    margin: float | Literal["rows"] = 0.0
    centring: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.margin != "rows" and self.margin < 0) or self.centring < 0:
            raise SettingsError(f"margin is {self.margin} and centring {self.centring}; neither can be negative")
        if self.loss_type == "plackett_luce" and self.margin:
            raise SettingsError('margin has no effect on "plackett_luce"; leave it out, or use loss_type = "pairs"')

    def loss(self) -> Loss:
        return reward_loss(self.margin, self.centring, self.replay_weight, self.loss_type)

    def holds(self, at: StageContext | RecipeTables) -> frozenset[str]:
        return super().holds(at) | {"reward"}

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
        """Answers of comparisons; there is no reference."""
        checkpoint = self.start(at)
        stores = self.stores(at, checkpoint, "none")
        if self.margin == "rows" and not any(made.train.scalar(MARGIN).any() for made in stores.values()):
            raise SettingsError(f'stage {at.name}: margin is "rows", but no pair has a field "margin" above 0')
        return self.set_up(at, checkpoint, stores)

    def _held_out(self, at: StageContext) -> dict[str, Store]:
        return {name: store.held_out for name, store in self.stores(at, self.start(at), "none").items()}
