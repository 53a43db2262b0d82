"""A finished stage as the doctor sees it: its own numbers, and a few figures derived from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tutelage.evaluate.statistics import Rate
from tutelage.report.labels import format_change, format_ci, format_pct
from tutelage.report.read import Finished, Forgetting, RowLosses, column
from tutelage.stages.fine_tune import FINE_TUNE_LR_SHARE, LORA_LR_FACTOR
from tutelage.train.lr_range_test import default_lr

PARTS = 10  # a curve is reduced to its mean over each tenth of the steps


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong with a stage. `name` is one of the names in docs/doctor.md; `evidence` lists the figures it rests
    on, with their 95% intervals where they have any.

    settings: the fix as overrides of the recipe, where it is one of settings: "stages.sft.lr=1e-4".
    verdict:  a problem; or nothing is wrong, and nothing shows that the stage learned anything either.
    """

    name: str
    stage: str
    symptom: str
    cause: str
    fix: str
    evidence: tuple[str, ...]
    settings: tuple[str, ...] = ()
    verdict: Literal["problem", "not shown"] = "problem"


@dataclass(frozen=True)
class Case:
    """A finished stage, and the peak learning rate that its base model was trained with, where that is known."""

    stage: Finished
    base_lr: float | None = None

    @property
    def settings(self) -> dict[str, Any]:
        return self.stage.info.settings

    @property
    def rates(self) -> dict[str, Rate]:
        return self.stage.rates

    @property
    def is_fine_tuned(self) -> bool:
        """Whether the stage was fine-tuned; False for a base model."""
        return self.stage.is_fine_tuned

    def own_datasets(self) -> list[str]:
        """The datasets it learns from, without replayed text."""
        return [name for name in self.stage.info.epochs if not name.startswith("replay.")]

    def replay_share(self) -> float:
        """The share of the trained tokens that was replayed text."""
        trained = self.stage.info.trained_by_dataset
        text = sum(weight for name, weight in trained.items() if name.startswith("replay."))
        return text / max(sum(trained.values()), 1.0)

    def knows_training_text(self) -> bool:
        """Whether text that the base model was trained on is known, so that it can be replayed."""
        return self.replay_share() > 0 or any(name != "probe" for name in self.stage.forgetting)

    def trained_tokens_per_row(self) -> float:
        """Trained tokens of an average row, of the dataset with most of them."""
        info = self.stage.info
        rows = {name: info.epochs[name] * info.ledgers[name].rows_out for name in self.own_datasets()}
        return max(info.trained_by_dataset[name] / max(rows[name], 1.0) for name in rows)

    def trained_share(self) -> float:
        """The share of the tokens of its own rows that are trained."""
        info = self.stage.info
        read = sum(info.epochs[name] * info.ledgers[name].tokens_out for name in self.own_datasets())
        return sum(info.trained_by_dataset[name] for name in self.own_datasets()) / max(read, 1.0)

    def most_epochs(self) -> tuple[str, float]:
        """Its own dataset with the most epochs, and how many those are."""
        return max(
            ((name, self.stage.info.epochs[name]) for name in self.own_datasets()), key=lambda dataset: dataset[1]
        )

    def usual_lr(self) -> tuple[float, str]:
        """The peak learning rate that is usually right for such a stage, and where that number comes from."""
        factor, what = (LORA_LR_FACTOR, " for LoRA") if self.settings.get("lora") else (1, "")
        if self.base_lr is not None:
            return self.base_lr * FINE_TUNE_LR_SHARE * factor, f"a third of the base model's learning rate{what}"
        return default_lr(self.stage.info.parameters) * factor, f"usual for a model of its size{what}"

    def lr_ratio(self) -> float:
        """The stage's peak learning rate over the usual one."""
        return self.stage.info.lr / self.usual_lr()[0]

    def lr_evidence(self) -> str:
        usual, source = self.usual_lr()
        return f"peak learning rate {self.stage.info.lr:g}, {self.lr_ratio():.2g} times {usual:.2g} ({source})"

    def curve(self, name: str = "loss") -> np.ndarray:
        """The mean of a logged figure over each tenth of the steps, float64; empty for fewer than two steps a tenth."""
        values = column(self.stage.log, name)[1]
        values = values[np.isfinite(values)]
        if len(values) < 2 * PARTS:
            return values[:0]
        return np.array([part.mean() for part in np.array_split(values, PARTS)])

    def own_loss(self) -> float | None:
        """The training loss on its own rows over the last tenth of the steps."""
        ends = []
        for name in self.own_datasets():
            curve = self.curve(f"loss.{name}")
            ends += [curve[-1]] if len(curve) else []
        if not ends and self.replay_share() == 0:
            ends = self.curve()[-1:].tolist()
        return float(np.mean(ends)) if ends else None

    def held_out_loss(self) -> float | None:
        """The loss of the selected weights on its own held-out rows."""
        losses = [loss for loss in self.stage.info.held_out.values() if loss is not None]
        return float(np.mean(losses)) if losses else None

    def worst_forgetting(self) -> tuple[str, Forgetting] | None:
        """The text whose loss rose most by the lower end of its interval, and its forgetting."""
        forgetting = self.stage.forgetting
        return max(forgetting.items(), key=lambda item: item[1].low) if forgetting else None


def rate_evidence(label: str, rate: Rate) -> str:
    """A rate with its interval as evidence."""
    return f"{label}: {format_pct(rate.rate)} of {rate.count:,} (95%: {format_ci(rate)})"


def row_loss_evidence(data: str, losses: RowLosses) -> str:
    """The loss on held-out rows before and after, as evidence."""
    interval = f"{format_change(losses.low)} to {format_change(losses.high)}"
    return (
        f"loss on {losses.rows} held-out rows of '{data}': {losses.before:.3f} to {losses.after:.3f} nats per token, "
        f"{format_change(losses.change)} (95%: {interval})"
    )


def forgetting_evidence(text: str, forgetting: Forgetting) -> str:
    """The forgetting of a text as evidence."""
    interval = f"{format_change(forgetting.low)} to {format_change(forgetting.high)}"
    return (
        f"loss on held-out text '{text}': {forgetting.before:.3f} to {forgetting.after:.3f} bits per byte, "
        f"{format_change(forgetting.increase)} (95%: {interval})"
    )
