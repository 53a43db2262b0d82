"""What every kind of stage that trains has in common: its settings, and what it hands to the training loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import torch

from tutelage.batching.loader import BatchTokens
from tutelage.chat import ChatConfig, Rendered
from tutelage.config import SettingsError, to_plain
from tutelage.evaluate.dev_eval import DevEval
from tutelage.evaluate.session import EvalSession
from tutelage.model.hub import Checkpoint
from tutelage.model.lora import LoraSettings
from tutelage.model.sizes import ModelConfig, lora_training_bytes, training_bytes
from tutelage.model.transformer import Transformer
from tutelage.stages.base import BATCH_TOKENS, RecipeTables, Stage, StageContext
from tutelage.stages.data import DataTable
from tutelage.stages.data_world import known_utility, world_of
from tutelage.stages.stream import DataStream
from tutelage.tokenizer import Tokenizer
from tutelage.train.kernels import compile_blocks, use_float8, use_varlen_attention
from tutelage.train.loop import TRAINING, Precision
from tutelage.train.losses import Loss
from tutelage.train.optimizers import OPTIMIZER, OptimizerSettings
from tutelage.train.router import RouterSettings, RouterTraining
from tutelage.train.schedule import ScheduleSettings
from tutelage.train.selection import Selection

# As fast as more at once, on a CPU, and a tenth less memory than 2,048.
MICRO_TOKENS = 1536


# Settings that came later, with their defaults: a stage that leaves them there keeps its fingerprint.
LATER_SETTINGS: dict[str, Any] = {
    "router": to_plain(RouterSettings()),
    "float8": False,
    "batch_schedule": (),
    "rope": "keep",
    "order": "shuffled",
    "schedule": {"warmup_steps": None, "end": "linear", "batch_lr": "fixed"},
    "optimizer": {"update_rms": 0.2, "base_width": None},
}


def _without_later(table: dict[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in table.items() if key not in later or value != later[key]}
    for section in ("schedule", "optimizer"):
        if section in later and section in kept:
            kept[section] = _without_later(kept[section], later[section])
    return kept


class RolloutShape(NamedTuple):
    """How much a stage samples: steps, samples of a step and of a rollout, rollouts, tokens of an answer at most, and
    the forward passes over a rollout outside of training."""

    steps: int
    step_samples: float
    samples: int
    rollouts: int
    max_tokens: int
    passes: int


class TrainStage(Stage, frozen=True, kw_only=True):
    """A stage that trains. A kind adds its own settings and `prepare`.

    epochs, steps:   how long: epochs of the first dataset, or optimizer steps. One of the two.
    batch_rows:      rows of an optimizer step, in place of batch_tokens; replayed pieces of text count as rows.
    micro_tokens:    tokens of one forward pass, at most: less memory, same gradients. None: MICRO_TOKENS, or the
                     longest example group where that is longer.
    precision:       dtype of matrix products; weights, gradients and optimizer state are float32 anyway. None: bfloat16
                     on a GPU, float32 elsewhere.
    activation_checkpointing: keep only the input of each block and run it again in the backward pass: less memory, the
                     same gradients, a third more arithmetic.
    compile:         compile the blocks with torch.compile; off, as the two below, until measured on a GPU.
    varlen_attention: one attention kernel for segments of any length, without padding; on GPUs.
    float8:          matrix products of the blocks in float8, by torchao: another rounding; on GPUs from Ada on.
    evaluate_every:  steps between two evaluations on held-out data; "epoch" evaluates at the end of every epoch of the
                     first dataset, 0 only after the last step.
    save_every, keep_checkpoints: every so many steps the weights are kept as a model RUN/STAGE@STEP, and of these the
                     newest so many. 0 keeps none.
    checkpoint_seconds: seconds between two checkpoints to resume from.
    seed:            sets the order of the data.
    optimizer:       AdamW or Muon, and their settings.
    schedule:        the learning rate over the steps.
    router:          balance of the experts, of a mixture of experts.
    """

    epochs: int | None = None
    steps: int | None = None
    batch_rows: int | None = None
    micro_tokens: int | None = None
    precision: Precision | None = None
    activation_checkpointing: bool = False
    compile: bool = False
    varlen_attention: bool = False
    float8: bool = False
    evaluate_every: int | Literal["epoch"] = 0
    save_every: int = 0
    keep_checkpoints: int = 3
    checkpoint_seconds: float = 60.0
    seed: int = 0
    optimizer: OptimizerSettings = OptimizerSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    router: RouterSettings = RouterSettings()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.epochs is None and self.steps is None:
            raise SettingsError("a stage needs epochs or steps, to know when it is finished")
        if self.epochs is not None and self.steps is not None:
            raise SettingsError(
                f"epochs = {self.epochs} and steps = {self.steps} both say when the stage is finished; take one of the "
                "two out of the recipe"
            )
        if self.batch_rows is not None and self.batch_tokens is not None:
            raise SettingsError(
                f"batch_rows = {self.batch_rows} and batch_tokens = {self.batch_tokens} both say how large a step is; "
                "give one of the two"
            )
        for name in ("epochs", "steps", "batch_rows", "micro_tokens", "keep_checkpoints"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise SettingsError(f"{name} is {value}; it must be at least 1")
        if not self.data or min(self.data.values()) <= 0:
            raise SettingsError("data needs at least one name, each with a share above 0, such as data = { world = 1 }")
        if (isinstance(self.evaluate_every, int) and self.evaluate_every < 0) or self.checkpoint_seconds < 0:
            raise SettingsError("evaluate_every and checkpoint_seconds must not be negative")
        if self.save_every < 0:
            raise SettingsError(f"save_every is {self.save_every}; it is a number of steps, or 0 to keep none")

    def step_tokens(self, tokens: float, longest: int) -> int:
        """Tokens an optimizer step reads, at most; `tokens` are those of an epoch of the stage's own rows."""
        if self.batch_rows is not None:
            return self.batch_rows * longest  # room for any rows
        return self.batch_tokens or BATCH_TOKENS

    def batch_plan(self, tokens: float, longest: int) -> BatchTokens:
        """The same over the stage, where it changes."""
        return self.step_tokens(tokens, longest)

    def prepare(self, at: StageContext) -> TrainSetup:
        """Everything the loop needs; tokenises the data where that has not been done yet."""
        raise NotImplementedError

    def check(self, name: str, recipe: RecipeTables, here: str) -> None:
        super().check(name, recipe, here)
        if self.lr is not None and not self.lr > 0:
            raise SettingsError(f"{here}.lr is {self.lr}; a learning rate must be above 0")
        if self.schedule.batch_lr != "fixed" and self.batch_plan(0, 1) == self.step_tokens(0, 1):
            raise SettingsError(f"{here}.schedule.batch_lr has no effect without a batch_schedule; leave it out")
        if (self.context or 0) > recipe.model.context and recipe.model.position == "learned":
            raise SettingsError(
                f"{here}.context is {self.context}, but the model has learned positions for {recipe.model.context} "
                'tokens only; use model.position = "rotary" to lengthen the context'
            )

    def content(self) -> list[object]:
        names = {"checkpoint_seconds", "micro_tokens", "activation_checkpointing", "save_every", "keep_checkpoints"}
        names |= {"compile", "varlen_attention", *self.no_content()}
        kept = {key: value for key, value in to_plain(self).items() if key not in names}
        return [TRAINING, OPTIMIZER, _without_later(kept, LATER_SETTINGS)]

    def no_content(self) -> set[str]:
        """Settings that do not change what the stage becomes."""
        return {"evaluate_every"}

    def eval_settings(self) -> list[object]:
        """Settings that change what the evaluations after training measure, and not what the stage becomes."""
        return []

    def selection(self) -> Selection:
        """Which evaluated step's weights become the stage's model."""
        return "last"

    def adapter(self) -> LoraSettings | None:
        """The low-rank adapter that is trained in place of the weights, if there is one."""
        return None

    def state_bytes(self, config: ModelConfig) -> int:
        """Bytes of weights, gradients and optimizer state."""
        lora = self.adapter()
        if lora is None:
            return training_bytes(config, self.optimizer.kind == "muon")
        return lora_training_bytes(config, lora.rank, 2 if lora.base_dtype == "bfloat16" else 4)

    def replay_share(self) -> float:
        """The share of the trained tokens that is replayed pre-training text."""
        return 0.0

    def start_settings(self, at: StageContext) -> str:
        """What the model starts from, for errors of the first step's check."""
        return f"the model starts from {'random weights' if self.parent is None else at.parent_folder(self)}"

    def forgetting_limit(self) -> float | None:
        """The relative increase of the loss on pre-training text above which a run fails, if there is one."""
        return None

    def searches_lr(self) -> bool:
        """Whether a range test finds the learning rate before training."""
        return False

    def rollouts(self, rows: float) -> RolloutShape | None:
        """What the stage samples from so many prompts, for the planner; None where it does not sample."""
        return None

    def render_sample(
        self, name: str, table: DataTable, tokenizer: Tokenizer, config: ChatConfig, rows: int, context: int
    ) -> list[Rendered]:
        """The first rows of a dataset as the stage trains on them, for the planner; ValueError where it would refuse
        them."""
        raise NotImplementedError

    def holds(self, at: RecipeTables | StageContext) -> frozenset[str]:
        """What evaluations of the stage can use; see evaluate.session.NEEDS."""
        world = frozenset({"world"} if world_of(at.data) else ())
        return world | ({"utility"} if known_utility(self.data, at.data) else frozenset())

    def session(self, at: StageContext) -> EvalSession:
        """Everything that evaluations of the stage may read."""
        world, known, has = world_of(at.data), known_utility(self.data, at.data), self.holds(at)
        folders, tokens = {"model": at.folder}, self.batch_tokens or BATCH_TOKENS
        return EvalSession(at.name, folders, has, world=world, known_utility=known, batch_tokens=tokens)

    def dev_eval(self, session: EvalSession, at: StageContext) -> DevEval | None:
        """What the stage is evaluated on during training besides its losses, if anything."""
        return None


@dataclass(frozen=True)
class TrainSetup:
    """A stage ready to run: the model as it starts, its data, the loss, the peak learning rate.

    evaluate: figures of a model on held-out data, for the log, by name: "held_out.DATA" and so on, and "samples".
    """

    checkpoint: Checkpoint
    stream: DataStream
    loss: Loss
    lr: float
    evaluate: Callable[[Checkpoint], dict[str, Any]]

    def with_lr(self, lr: float) -> TrainSetup:
        """The same stage at another rate."""
        return replace(self, lr=lr)


def set_up(stage: TrainStage, at: StageContext) -> TrainSetup:
    """`stage.prepare` with what every kind of stage has.

    Raises:
        ValueError: the settings do not fit the model or the data.
    """
    setup = stage.prepare(at)
    model = setup.checkpoint.model
    if stage.activation_checkpointing and model.config.hf_parameters is not None:
        raise SettingsError(
            f"stage {at.name}: activation_checkpointing works with the built-in architectures only, and its model is "
            "another"
        )
    model.activation_checkpointing = stage.activation_checkpointing
    _choose_kernels(stage, at.name, model)
    if stage.micro_tokens and stage.micro_tokens < setup.stream.longest:
        raise SettingsError(
            f"stage {at.name}: micro_tokens = {stage.micro_tokens}, but its longest conversation or piece of text has "
            f"{setup.stream.longest} tokens; raise micro_tokens to at least that"
        )
    return setup


def _choose_kernels(stage: TrainStage, name: str, model: Transformer) -> None:
    precision = precision_of(stage, model)
    try:
        if stage.float8:
            use_float8(model, precision)
        if stage.varlen_attention:
            use_varlen_attention(model, precision)
        if stage.compile:
            compile_blocks(model)
    except ValueError as error:
        raise SettingsError(f"stage {name}: {error}") from error


def trained_stages(stages: Mapping[str, Stage]) -> dict[str, TrainStage]:
    """The stages that train, in order."""
    return {name: stage for name, stage in stages.items() if isinstance(stage, TrainStage)}


def precision_of(stage: TrainStage, model: torch.nn.Module) -> Precision:
    """The dtype of a stage's matrix products, where its settings leave it open too."""
    on_gpu = next(model.parameters()).device.type == "cuda"
    return stage.precision or ("bfloat16" if on_gpu else "float32")


def micro_tokens(stage: TrainStage, longest: int) -> int:
    """Tokens of one forward pass, at most."""
    return stage.micro_tokens or max(MICRO_TOKENS, longest)


def router_training(stage: TrainStage, model: Transformer) -> RouterTraining | None:
    """How the stage trains the routers of a mixture of experts; None of other models, and where they are frozen.

    Raises:
        SettingsError: the stage balances experts that the model does not have, or has frozen.
    """
    experts, settings = model.config.experts, stage.router
    if experts is not None and stage.adapter() is None:
        return RouterTraining(model, experts, settings)
    if settings != RouterSettings():
        problem = "its experts are frozen" if experts is not None else "the model has no experts"
        raise SettingsError(f"router has settings, but {problem}; leave router out")
    return None
