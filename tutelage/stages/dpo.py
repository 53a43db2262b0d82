"""Direct preference optimisation and its relatives: learn from pairs of answers, without a reward model."""

from __future__ import annotations

from typing import ClassVar

from tutelage.config import SettingsError
from tutelage.stages.base import StageContext
from tutelage.stages.preferences import PreferenceStage
from tutelage.stages.train_stage import TrainSetup
from tutelage.train.losses import Loss
from tutelage.train.preference_losses import PAIR_LOSSES, LossOptions, PairLossName, pair_loss

# What the papers use where it is not 0.1: SimPO's 2, with gamma 0.5, on a log-probability per token.
BETAS: dict[PairLossName, float] = {"simpo": 2.0, "sigmoid_norm": 5.0}
SMOOTHED = ("sigmoid", "sigmoid_norm", "robust")


class Dpo(PreferenceStage, tag="dpo", tag_field="kind", frozen=True, kw_only=True):
    """Learn to prefer the chosen answer of each pair.

    loss_type: "sigmoid" is DPO; "sigmoid_norm" is DPO per token; "robust" is DPO for labels flipped with rate
               label_smoothing; "ipo" is IPO on summed log-probabilities, "ipo_mean" per token; "simpo" and "orpo" need
               no reference.
    beta:      how strongly margins count; tau of IPO, lambda of ORPO. None: 0.1; 2 for "simpo", 5 for "sigmoid_norm".
    label_smoothing: with "sigmoid" and "sigmoid_norm" the share of labels that is taken for wrong (conservative DPO).
    gamma:     the target margin of "simpo". None: 0.5.
    nll:       factor of the negative log-probability of chosen answers, which keeps it from rising. None: 1 for "orpo",
               which has it, else 0.
    """

    title: ClassVar[str] = "preference training (DPO)"

    loss_type: PairLossName = "sigmoid"
    beta: float | None = None
    label_smoothing: float = 0.0
    gamma: float | None = None
    nll: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.beta is not None and not self.beta > 0:
            raise SettingsError(f"beta (--beta) is {self.beta}; it must be above 0")
        if not 0 <= self.label_smoothing < 0.5:
            raise SettingsError(f"label_smoothing is {self.label_smoothing}; it is a share: at least 0, below 0.5")
        if self.label_smoothing and self.loss_type not in SMOOTHED:
            raise SettingsError(
                f'label_smoothing has no effect on "{self.loss_type}"; use one of {", ".join(SMOOTHED)}'
            )
        if self.loss_type == "robust" and not self.label_smoothing:
            raise SettingsError(
                '"robust" needs the rate of wrong labels: set label_smoothing above 0, or use "sigmoid"'
            )
        if self.gamma is not None and self.loss_type != "simpo":
            raise SettingsError(f'gamma is the target margin of "simpo", and loss_type is "{self.loss_type}"')
        if self.nll is not None and self.nll < 0:
            raise SettingsError(f"nll is {self.nll}; it is a factor: at least 0")

    def loss(self) -> Loss:
        beta = BETAS.get(self.loss_type, 0.1) if self.beta is None else self.beta
        options = LossOptions(beta, self.label_smoothing, 0.5 if self.gamma is None else self.gamma)
        nll = (1.0 if self.loss_type == "orpo" else 0.0) if self.nll is None else self.nll
        return pair_loss(self.loss_type, options, nll, self.replay_weight)

    def prepare(self, at: StageContext) -> TrainSetup:
        """Pairs of answers, with the log-probabilities that the parent gives them."""
        checkpoint = self.start(at)
        # The held-out pairs always have them: by how much answers became less likely is worth knowing.
        reference = "both" if PAIR_LOSSES[self.loss_type].reference else "held_out"
        return self.set_up(at, checkpoint, self.stores(at, checkpoint, reference))
