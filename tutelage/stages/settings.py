"""What a recipe says of a stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from tutelage.batching.sources import TooLong
from tutelage.chat.render.native import TrainOn
from tutelage.config import Settings, SettingsError
from tutelage.model.lora import LoraSettings
from tutelage.train.loop import Precision
from tutelage.train.optimizers import OptimizerSettings
from tutelage.train.schedule import ScheduleSettings

# The share of the base model's rate that fine-tuning starts from: a half to a tenth keeps what was learned while the
# format is picked up; a third is the usual first try.
SFT_LR_SHARE = 1 / 3

# The best rate for low-rank matrices is about ten times the best for the weights themselves, whatever the model and the
# rank (Schulman et al. 2025, "LoRA Without Regret", Thinking Machines Lab).
LORA_LR_TIMES = 10

# As fast as more at once, on a CPU, and less memory than of 2,048 by a tenth.
MICRO_TOKENS = 1536


class TrainStage(Settings, frozen=True, kw_only=True):
    """What every stage has.

    data:            name of the data -> its share of the trained tokens.
    parent:          the stage whose model this one goes on from; written `from` in a recipe.
    epochs, steps:   how long: passes over the first data named, or optimizer steps. Exactly one of the two.
    batch_tokens:    tokens an optimizer step reads, at most.
    micro_tokens:    tokens of one forward pass, at most: less memory, same gradients. None: MICRO_TOKENS, or the
                     longest row where that is longer.
    precision:       what matrix products are made in; weights, gradients and the optimizer's state are float32 anyway.
                     None: bfloat16 on a GPU, float32 elsewhere.
    recompute:       keep of each block only what it reads and run it again in the backward pass: less memory, the same
                     gradients, a third more arithmetic.
    context:         the longest segment, in tokens; the model's where left out. A stage may lengthen it.
    held_out:        the share of the rows kept from training, to measure the loss on.
    evaluate_every:  steps between two looks at held-out data, its loss and a few samples; "epoch" looks at the end of
                     every pass over the first data, 0 only at the end of all.
    checkpoint_seconds: seconds between two checkpoints.
    seed:            sets the order of the data.
    """

    data: dict[str, float]
    parent: str | None = msgspec.field(name="from", default=None)
    epochs: int | None = None
    steps: int | None = None
    batch_tokens: int = 8192
    micro_tokens: int | None = None
    precision: Precision | None = None
    recompute: bool = False
    context: int | None = None
    held_out: float = 0.02
    evaluate_every: int | Literal["epoch"] = 0
    checkpoint_seconds: float = 60.0
    seed: int = 0
    optimizer: OptimizerSettings = OptimizerSettings()
    schedule: ScheduleSettings = ScheduleSettings()

    def __post_init__(self) -> None:
        if self.epochs is None and self.steps is None:
            raise SettingsError("a stage needs epochs or steps, to know when it is finished")
        if self.epochs is not None and self.steps is not None:
            raise SettingsError(
                f"epochs = {self.epochs} and steps = {self.steps} both say when the stage is finished; take one of the "
                "two out of the recipe"
            )
        for name in ("epochs", "steps", "batch_tokens", "micro_tokens", "context"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise SettingsError(f"{name} is {value}; it must be at least 1")
        if not self.data or min(self.data.values()) <= 0:
            raise SettingsError("data needs at least one name, each with a share above 0, such as data = { world = 1 }")
        if not 0 <= self.held_out < 1:
            raise SettingsError(f"held_out is {self.held_out}; it is a share of the rows: at least 0, below 1")
        if (isinstance(self.evaluate_every, int) and self.evaluate_every < 0) or self.checkpoint_seconds < 0:
            raise SettingsError("evaluate_every and checkpoint_seconds must not be negative")


class Pretrain(TrainStage, tag="pretrain", tag_field="kind", frozen=True, kw_only=True):
    """Learn to predict every token of documents. Mid-training is this too, from an earlier stage on other data."""

    lr: float = 3e-3


class Sft(TrainStage, tag="sft", tag_field="kind", frozen=True, kw_only=True):
    """Learn to answer: supervised fine-tuning on conversations.

    lr:       peak learning rate; a third of the rate of the pre-training it builds on where left out, and
              with lora ten times that.
    lora:     train low-rank matrices beside the weights, and the rows of new tokens; the weights stay as they are.
    find_lr:  the rate is found by a short sweep over rates before training (train.find_lr), on the stage's own data.
    train_on: "assistant" trains every turn of the assistant, "last_assistant" its last one; "response_only" trains
              every turn and leaves out what it answers (response tuning, arXiv 2410.02465); "all_tokens" trains every
              token.
    replay:   share of the trained tokens of every step that is text of the pre-training, against forgetting.
    replay_data: the text that is replayed, with shares; what the model was trained on where left out. What is held out
              of it measures forgetting too.
    max_forgetting: the run fails, after all is written, where the loss on held-out text of the pre-training has risen
              by more than this share of itself: where the lower end of the 95% interval has.
    too_long: what becomes of a conversation longer than the context: an error, dropped and counted, or split by turns.
    max_refused: the share of conversations that may be refused because the model's template cannot be proven on them;
              they are counted by reason, and more are an error.
    keep:     which weights become the stage's model: those of the look at held-out data at which it behaved best, or
              at which its held-out loss was lowest, or the last. With evaluate_every = 0 it is the last.
    """

    lr: float | None = None
    lora: LoraSettings | None = None
    find_lr: bool = False
    train_on: TrainOn = "assistant"
    replay: float = 0.0
    replay_data: dict[str, float] = {}
    max_forgetting: float | None = None
    too_long: TooLong = "error"
    max_refused: float = 0.0
    keep: Literal["behaviour", "loss", "last"] = "behaviour"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.parent is None:
            raise SettingsError('fine-tuning needs a model to start from: say from = "STAGE"')
        if not 0 <= self.max_refused <= 1:
            raise SettingsError(f"max_refused is {self.max_refused}; it is a share of the rows, from 0 to 1")
        if not 0 <= self.replay < 1:
            raise SettingsError(f"replay is {self.replay}; it is a share of the trained tokens: at least 0, below 1")
        if self.replay_data and (not self.replay or min(self.replay_data.values()) <= 0):
            raise SettingsError("replay_data names text to replay: give each a share above 0, and replay above 0")
        if self.lora is not None and self.optimizer.kind != "adamw":
            raise SettingsError('lora is trained with AdamW: set optimizer.kind = "adamw"')
        if self.find_lr and self.lr is not None:
            raise SettingsError("lr (--lr) says the rate and find_lr (--find-lr) has it found: give one of the two")
        if self.max_forgetting is not None and self.max_forgetting < 0:
            raise SettingsError(f"max_forgetting is {self.max_forgetting}; it is a share of the loss, such as 0.1")


class PretrainedModel(Settings, tag="model", tag_field="kind", frozen=True, kw_only=True):
    """A model that is there already, for other stages to go on from; nothing is trained.

    path:         its folder; a relative one in a recipe is looked for beside the recipe.
    data:         the text it was trained on, with shares: what is replayed, and what forgetting is measured on.
    held_out:     the share of that text that it was kept from.
    lr:           the peak rate it was trained with, from which later stages take theirs.
    batch_tokens: tokens of one forward pass where its loss is measured.
    """

    path: str
    data: dict[str, float] = {}
    held_out: float = 0.02
    lr: float | None = None
    context: int | None = None
    batch_tokens: int = 8192


TrainedStage = Pretrain | Sft
AnyStage = Pretrain | Sft | PretrainedModel


def parent_of(stage: AnyStage) -> str | None:
    """The stage that one goes on from."""
    return None if isinstance(stage, PretrainedModel) else stage.parent


def chooses(stage: TrainedStage) -> bool:
    """Whether a stage keeps its best look at held-out data, so that when it looks decides what it becomes."""
    return isinstance(stage, Sft) and stage.keep != "last" and stage.evaluate_every != 0


def chats(stages: Mapping[str, AnyStage], name: str | None) -> bool:
    """Whether a stage's model has the chat tokens: it, or a stage it goes on from, is fine-tuned."""
    while name is not None:
        if isinstance(stages[name], Sft):
            return True
        name = parent_of(stages[name])
    return False
