"""What every kind of stage has in common: its settings, what it may build on, and what it hands to the training loop.

A stage kind is one file beside this one. The rest of the package asks a stage through the methods here and never which
kind it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import msgspec
import torch

from tutelage.batching.loader import DataState, WeightedStore, batches, count_steps, read_cursors
from tutelage.batching.store import Store
from tutelage.chat import ChatConfig, Rendered
from tutelage.config import Settings, SettingsError, to_plain
from tutelage.evaluate.dev_eval import DevEval
from tutelage.evaluate.session import EvalSession
from tutelage.ledger import Ledger
from tutelage.model.hub import Checkpoint
from tutelage.model.lora import LoraSettings
from tutelage.model.sizes import ModelConfig, ModelSettings, lora_training_bytes, training_bytes
from tutelage.model.transformer import Transformer
from tutelage.progress import status
from tutelage.records import Batch
from tutelage.stages.data import (
    DataSettings,
    DataTable,
    MadeData,
    OfWorld,
    Stores,
    find_data,
    find_world,
    holds,
    known_utility,
    world_of,
)
from tutelage.tokenizer import Tokenizer
from tutelage.train.distributed import rank, world_size
from tutelage.train.loop import TRAINING, Precision
from tutelage.train.losses import Loss
from tutelage.train.optimizers import OPTIMIZER, OptimizerSettings
from tutelage.train.schedule import ScheduleSettings
from tutelage.train.selection import Selection

# The files of a finished stage's folder.
STAGE, LOG, CHECKPOINT, SELECTED = "stage.json", "train.jsonl", "checkpoint", "selected.safetensors"
LR_RANGE_TEST = "lr_range_test.json"
MADE = "data.jsonl"  # of a stage that makes data
# The files of a run's folder.
SUMMARY, RECIPE, TOKENIZER, EVALUATIONS = "summary.json", "recipe.json", "tokenizer", "evaluate"
# Files beside a model that are not of the model.
RUN_FILES = (STAGE, LR_RANGE_TEST, SUMMARY, RECIPE)

# Tokens of an optimizer step, where no setting says how many.
BATCH_TOKENS = 8192
# Fewer steps than these train next to nothing.
FEWEST_STEPS = 3
# As fast as more at once, on a CPU, and a tenth less memory than 2,048.
MICRO_TOKENS = 1536

Reads = Literal["documents", "conversations", "preferences", "rankings", "prompts"]


class RecipeTables(Protocol):
    """The tables of a recipe, as a stage checks itself against them."""

    @property
    def model(self) -> ModelSettings: ...
    @property
    def data(self) -> DataTable: ...
    @property
    def stages(self) -> Mapping[str, Stage]: ...
    @property
    def evaluate(self) -> Mapping[str, Sequence[str]]: ...


class Stage(Settings, frozen=True, kw_only=True):
    """An entry of [stages].

    reads:  what the rows of its data are.
    title:  what people call this kind of stage.
    loss_unit: of its training loss and held-out loss.
    trains: whether it runs; False for a model that exists already.
    fine_tunes: whether it starts from a model whose skills it must keep.
    chats:  whether its model answers in turns.
    makes_data: whether it makes rows for later stages instead of a model.

    data:         name of the data -> its share of the trained tokens.
    parent:       the stage whose model this one starts from; written `from` in a recipe.
    lr:           peak learning rate.
    context:      the longest segment, in tokens; the model's where left out. A stage may lengthen it.
    held_out:     the share of the rows kept from training, to measure the loss on.
    batch_tokens: tokens an optimizer step reads, at most, 8192 by default, and fewer in fine-tuning on little data; of
                  an external model, tokens of a forward pass.
    """

    reads: ClassVar[Reads]
    title: ClassVar[str]
    loss_unit: ClassVar[str] = "nats per token"
    trains: ClassVar[bool] = True
    fine_tunes: ClassVar[bool] = False
    chats: ClassVar[bool] = False
    makes_data: ClassVar[bool] = False

    data: dict[str, float]
    parent: str | None = msgspec.field(name="from", default=None)
    lr: float | None = None
    context: int | None = None
    held_out: float = 0.02
    batch_tokens: int | None = None

    def __post_init__(self) -> None:
        for name in ("batch_tokens", "context"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise SettingsError(f"{name} is {value}; it must be at least 1")
        if not 0 <= self.held_out < 1:
            raise SettingsError(f"held_out is {self.held_out}; it is a share of the rows: at least 0, below 1")

    def folder(self, name: str, run: Path) -> Path:
        """Where the stage's model is."""
        return run / name

    def all_data(self) -> dict[str, float]:
        """Every dataset that the stage trains on, replayed ones included."""
        return dict(self.data)

    def shares(self) -> dict[str, float]:
        """Each dataset's share of the trained tokens, for people."""
        total = sum(self.data.values())
        return {name: share / total for name, share in self.data.items()}

    def other_models(self) -> list[str]:
        """Models besides the parent that decide what the stage becomes: names of stages, or folders."""
        return []

    def has_template(self) -> bool:
        """Whether its model answers in turns before anything is trained from it."""
        return self.chats

    def default_data(self) -> dict[str, DataSettings]:
        """Data for a stage that names none and can do without, by name."""
        return {}

    def default_suites(self, recipe: RecipeTables) -> list[str]:
        """The evaluations that suit it in this recipe."""
        return []

    def content(self) -> list[object]:
        """Everything besides data and parent that decides what the stage becomes, ready to be fingerprinted."""
        raise NotImplementedError

    def check(self, name: str, recipe: RecipeTables, here: str) -> None:
        """SettingsError, opening with `here`, where the stage cannot run in this recipe."""
        for data in self.data:
            entry, above = recipe.data.get(data), list(recipe.stages)
            if isinstance(entry, MadeData) and (
                entry.stage not in above[: above.index(name)] or not recipe.stages[entry.stage].makes_data
            ):
                raise SettingsError(
                    f"{here}.data: '{data}' is made by stage '{entry.stage}', and above '{name}' no stage of that name "
                    "makes data"
                )
        if self.parent is not None and recipe.stages[self.parent].makes_data:
            raise SettingsError(f"{here}.from: '{self.parent}' makes data and no model; name the stage it starts from")
        check_data(recipe.data, self.data, self.reads, f"a {self.title} stage trains on", f"{here}.data")


class DataStage(Stage, frozen=True, kw_only=True):
    """A stage that makes rows for later stages, which name them as data of kind "made"; it trains nothing. A kind adds
    its own settings and `make`."""

    makes_data: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.parent is None:
            raise SettingsError('making data needs a model that writes it: say from = "STAGE"')
        if self.lr is not None or self.batch_tokens is not None:
            raise SettingsError("lr and batch_tokens have no effect here: nothing is trained; leave them out")

    def content(self) -> list[object]:
        return [to_plain(self)]

    def make(self, at: StageContext) -> DataSetup:
        """The rows to write, with their account."""
        raise NotImplementedError


@dataclass(frozen=True)
class DataSetup:
    """The rows that a stage makes, their account, and figures for stage.json; the last two are complete once all rows
    were taken."""

    rows: Iterator[Mapping[str, Any]]
    ledger: Ledger
    figures: Mapping[str, Any]


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
    evaluate_every:  steps between two evaluations on held-out data; "epoch" evaluates at the end of every epoch of the
                     first dataset, 0 only after the last step.
    save_every, keep_checkpoints: every so many steps the weights are kept as a model RUN/STAGE@STEP, and of these the
                     newest so many. 0 keeps none.
    checkpoint_seconds: seconds between two checkpoints to resume from.
    seed:            sets the order of the data.
    optimizer:       AdamW or Muon, and their settings.
    schedule:        the learning rate over the steps.
    """

    epochs: int | None = None
    steps: int | None = None
    batch_rows: int | None = None
    micro_tokens: int | None = None
    precision: Precision | None = None
    activation_checkpointing: bool = False
    evaluate_every: int | Literal["epoch"] = 0
    save_every: int = 0
    keep_checkpoints: int = 3
    checkpoint_seconds: float = 60.0
    seed: int = 0
    optimizer: OptimizerSettings = OptimizerSettings()
    schedule: ScheduleSettings = ScheduleSettings()

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

    def prepare(self, at: StageContext) -> TrainSetup:
        """Everything the loop needs; tokenises the data where that has not been done yet."""
        raise NotImplementedError

    def check(self, name: str, recipe: RecipeTables, here: str) -> None:
        super().check(name, recipe, here)
        if self.lr is not None and not self.lr > 0:
            raise SettingsError(f"{here}.lr is {self.lr}; a learning rate must be above 0")
        if (self.context or 0) > recipe.model.context and recipe.model.position == "learned":
            raise SettingsError(
                f"{here}.context is {self.context}, but the model has learned positions for {recipe.model.context} "
                'tokens only; use model.position = "rotary" to lengthen the context'
            )

    def content(self) -> list[object]:
        names = {"checkpoint_seconds", "micro_tokens", "activation_checkpointing", "save_every", "keep_checkpoints"}
        names |= self.no_content()
        return [TRAINING, OPTIMIZER, {key: value for key, value in to_plain(self).items() if key not in names}]

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


def check_data(table: DataTable, names: Iterable[str], wanted: Reads, use: str, here: str) -> None:
    """SettingsError where data is missing, or its rows are not what is wanted."""
    for name in names:
        data = find_data(name, table, here)
        if isinstance(data, OfWorld):
            find_world(data, table, f"{here}.{name}")
        if holds(data) != wanted:
            raise SettingsError(f"{here}: '{name}' holds {holds(data)}, but {use} {wanted}")


def trained_stages(stages: Mapping[str, Stage]) -> dict[str, TrainStage]:
    """The stages that train, in order."""
    return {name: stage for name, stage in stages.items() if isinstance(stage, TrainStage)}


def base_of(stage: Stage, stages: Mapping[str, Stage]) -> tuple[str, Stage]:
    """The base model that a stage starts from, by name, through any number of fine-tuned stages between."""
    name = stage.parent
    assert name is not None, "asked only of stages that start from others"
    while stages[name].fine_tunes:
        parent = stages[name].parent
        assert parent is not None
        name = parent
    return name, stages[name]


def chats(stages: Mapping[str, Stage], name: str | None) -> bool:
    """Whether a stage's model has the chat template's tokens: it, or a stage it starts from, chats."""
    while name is not None:
        if stages[name].chats:
            return True
        name = stages[name].parent
    return False


@dataclass(frozen=True)
class StageContext:
    """Where a stage is in its recipe: everything it may build on."""

    name: str
    folder: Path
    cache: Path
    seed: int
    model: ModelSettings
    data: DataTable
    stages: Mapping[str, Stage]
    folders: Mapping[str, Path]
    tokenizer: Path

    def base(self, stage: Stage) -> tuple[str, Stage]:
        """The base model that a stage starts from, by name."""
        return base_of(stage, self.stages)

    def parent_folder(self, stage: Stage) -> Path:
        """The folder of the model that a stage starts from."""
        assert stage.parent is not None
        return self.folders[stage.parent]

    def stores(self, held_out: float) -> Stores:
        return Stores(self.cache, self.data, held_out)


StepBatches = Iterator[tuple[list[Batch], DataState]]
Live = Callable[[], Transformer]


@dataclass(frozen=True)
class DataStream:
    """A stage's training data, step by step. Its state is a JSON value that only the stream reads.

    names:    the datasets, in the order of the scalar "dataset".
    longest:  tokens of the longest example group.
    steps:    how many steps there are, and `step_tokens` the tokens of one, at most.
    batches:  (state, endless) -> the micro-batches of this process and the state after them, from a state or, with
              None, from the start; endless streams do not stop after the last epoch.
    epoch:    the epoch of the first dataset that a state is in.
    describe: what stage.json says of the data, given the state after the last step.
    attach:   gets a function that gives the whole model as it is at a step, for streams that read live weights. What
              depends on weights is never made before the step that needs it.
    figures:  what the log says of the data of the last step.
    saving:   around the writing of a checkpoint with this state: writes the state's large parts before, and removes
              those of older checkpoints after.
    """

    names: tuple[str, ...]
    longest: int
    steps: int
    step_tokens: int
    batches: Callable[[DataState, bool], StepBatches]
    epoch: Callable[[DataState], int]
    describe: Callable[[DataState], dict[str, Any]]
    attach: Callable[[Live], None] = lambda live: None
    figures: Callable[[], dict[str, Any]] = dict
    saving: Callable[[DataState], AbstractContextManager[None]] = lambda state: nullcontext()


def store_stream(stage: TrainStage, label: str, datasets: Mapping[str, WeightedStore]) -> DataStream:
    """A stream over stores, mixed by their shares of the trained tokens.

    Raises:
        ValueError: a store is empty.
    """
    for name, dataset in datasets.items():
        dataset.store.ledger.check()
        if not len(dataset.store):
            raise ValueError(f"stage {label}: nothing is left to train on in '{name}'; see its ledger")
    longest = max(dataset.store.longest for dataset in datasets.values())
    own = sum(int(one.store.tokens_G.sum()) for name, one in datasets.items() if not name.startswith("replay."))
    step_tokens, steps = stage.step_tokens(own, longest), stage.steps
    if steps is None:
        assert stage.epochs is not None
        steps = count_steps(datasets, step_tokens, stage.seed, stage.epochs, stage.batch_rows)
        if warning := few_steps_warning(label, steps):
            status(warning)

    def stream(state: DataState, endless: bool) -> StepBatches:
        return batches(
            datasets,
            batch_tokens=step_tokens,
            micro_tokens=micro_tokens(stage, longest),
            seed=stage.seed,
            epochs=None if endless else stage.epochs,
            state=state,
            rank=rank(),
            ranks=world_size(),
            batch_rows=stage.batch_rows,
        )

    main = next(iter(datasets))
    return DataStream(
        names=tuple(datasets),
        longest=longest,
        steps=steps,
        step_tokens=step_tokens,
        batches=stream,
        epoch=lambda state: read_cursors(state)[main].epoch if state else 0,
        describe=partial(_describe, datasets),
    )


def few_steps_warning(label: str, steps: int) -> str:
    """A sentence where a stage has so few optimizer steps that it can learn next to nothing; else ""."""
    if steps >= FEWEST_STEPS:
        return ""
    count = "1 optimizer step" if steps == 1 else f"{steps} optimizer steps"
    return (
        f"stage {label}: {count} in all, too few to learn from; give it smaller steps (batch_rows = 8) or more epochs"
    )


def _describe(datasets: Mapping[str, WeightedStore], state: DataState) -> dict[str, Any]:
    cursors = read_cursors(state)
    groups = {name: len(dataset.store) for name, dataset in datasets.items()}
    return {
        "epochs": {name: round(c.epoch + c.position / groups[name], 4) for name, c in cursors.items()},
        "trained_by_dataset": {name: cursor.trained_tokens for name, cursor in cursors.items()},
        "ledgers": {name: dataset.store.ledger.to_dict() for name, dataset in datasets.items()},
        "stores": {name: store_name(dataset.store) for name, dataset in datasets.items()},
    }


def store_name(store: Store) -> str:
    """A store's folder below the run's data folder."""
    return f"{store.folder.parent.name}/{store.folder.name}"


def precision_of(stage: TrainStage, model: torch.nn.Module) -> Precision:
    """The dtype of a stage's matrix products, where its settings leave it open too."""
    on_gpu = next(model.parameters()).device.type == "cuda"
    return stage.precision or ("bfloat16" if on_gpu else "float32")


def micro_tokens(stage: TrainStage, longest: int) -> int:
    """Tokens of one forward pass, at most."""
    return stage.micro_tokens or max(MICRO_TOKENS, longest)


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
    if stage.micro_tokens and stage.micro_tokens < setup.stream.longest:
        raise SettingsError(
            f"stage {at.name}: micro_tokens = {stage.micro_tokens}, but its longest conversation or piece of text has "
            f"{setup.stream.longest} tokens; raise micro_tokens to at least that"
        )
    return setup
