"""A finished stage as the doctor sees it: its own numbers, and the few figures that are worked out of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tutelage.evaluate.statistics import Rate
from tutelage.report.read import Finished, Lost, column
from tutelage.report.words import change, reach, share
from tutelage.stages.settings import LORA_LR_TIMES, SFT_LR_SHARE
from tutelage.train.find_lr import default_rate

PARTS = 10  # a curve is told by its mean over each tenth of the steps


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong with a stage. `name` is one of the names in docs/doctor.md; `evidence` are the figures it rests on,
    with their 95% intervals where they have any."""

    name: str
    stage: str
    symptom: str
    cause: str
    cure: str
    evidence: tuple[str, ...]


@dataclass(frozen=True)
class Case:
    """A finished stage, with the rate that the model it goes on from was trained with, where that is known."""

    stage: Finished
    base_lr: float | None = None

    @property
    def settings(self) -> dict[str, Any]:
        return self.stage.info.settings

    @property
    def rates(self) -> dict[str, Rate]:
        return self.stage.rates

    @property
    def tuned(self) -> bool:
        """Whether it was fine-tuned, and is not a base model."""
        return self.stage.is_fine_tuned

    def own(self) -> list[str]:
        """The sources it learns from, without what is replayed."""
        return [name for name in self.stage.info.passes if not name.startswith("replay.")]

    def replayed(self) -> float:
        """The share of the trained tokens that was replayed text."""
        trained = self.stage.info.trained_by_dataset
        text = sum(weight for name, weight in trained.items() if name.startswith("replay."))
        return text / max(sum(trained.values()), 1.0)

    def trained_tokens_per_row(self) -> float:
        """Graded tokens of an average conversation, of the data in which they are most."""
        info = self.stage.info
        rows = {name: info.passes[name] * info.ledgers[name].rows_out for name in self.own()}
        return max(info.trained_by_dataset[name] / max(rows[name], 1.0) for name in rows)

    def trained_share(self) -> float:
        """The share of the tokens of its own rows that are trained."""
        info = self.stage.info
        read = sum(info.passes[name] * info.ledgers[name].tokens_out for name in self.own())
        return sum(info.trained_by_dataset[name] for name in self.own()) / max(read, 1.0)

    def passes(self) -> tuple[str, float]:
        """The source of its own that was passed most often, and how often."""
        return max(((name, self.stage.info.passes[name]) for name in self.own()), key=lambda one: one[1])

    def usual_rate(self) -> tuple[float, str]:
        """The peak rate that is usually right for such a stage, and by what."""
        times, what = (LORA_LR_TIMES, " for LoRA") if self.settings.get("lora") else (1, "")
        if self.base_lr is not None:
            return self.base_lr * SFT_LR_SHARE * times, f"a third of the rate its base was trained with{what}"
        return default_rate(self.stage.info.parameters) * times, f"usual for a model of its size{what}"

    def rate_against_usual(self) -> float:
        """How many times the usual rate its own is."""
        return self.stage.info.lr / self.usual_rate()[0]

    def rate_evidence(self) -> str:
        usual, why = self.usual_rate()
        return f"peak learning rate {self.stage.info.lr:g}, {self.rate_against_usual():.2g} times {usual:.2g} ({why})"

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
        for name in self.own():
            curve = self.curve(f"loss.{name}")
            ends += [curve[-1]] if len(curve) else []
        if not ends and self.replayed() == 0:
            ends = self.curve()[-1:].tolist()
        return float(np.mean(ends)) if ends else None

    def held_out_loss(self) -> float | None:
        """The loss on its own held-out rows, of the weights that were kept."""
        losses = [loss for loss in self.stage.info.held_out.values() if loss is not None]
        return float(np.mean(losses)) if losses else None

    def worst_lost(self) -> tuple[str, Lost] | None:
        """What was surely forgotten most: the text whose loss rose most by the lower end of its interval."""
        lost = self.stage.forgetting
        return max(lost.items(), key=lambda item: item[1].low) if lost else None


def rate_words_of(words: str, of: Rate) -> str:
    """A rate with its interval as evidence."""
    return f"{words}: {share(of.rate)} of {of.count:,} (95%: {reach(of)})"


def lost_words(text: str, lost: Lost) -> str:
    """What was forgotten of a text, as evidence."""
    reached = f"{change(lost.low)} to {change(lost.high)}"
    return f"loss on held-out text '{text}': {lost.before:.3f} to {lost.after:.3f} bits a byte, " + (
        f"{change(lost.increase)} (95%: {reached})"
    )
