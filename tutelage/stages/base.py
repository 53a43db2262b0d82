"""What every kind of stage has in common: its settings, and what it may build on.

A stage kind is one file beside this one. The rest of the package asks a stage through the methods here and never which
kind it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import msgspec

from tutelage.config import Settings, SettingsError, to_plain
from tutelage.ledger import Ledger
from tutelage.model.sizes import ModelSettings
from tutelage.stages.data import DataSettings, DataTable, MadeData, find_data, holds
from tutelage.stages.data_world import OfWorld, find_world
from tutelage.stages.stores import Stores

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

Reads = Literal["documents", "conversations", "preferences", "rankings", "prompts", "labelled"]


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

    def row_kind(self) -> Reads:
        """What the rows of its data must be."""
        return self.reads

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
        use = f"a {self.title} stage {'works' if self.makes_data else 'trains'} on"
        check_data(recipe.data, self.data, self.row_kind(), use, f"{here}.data")


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


def check_data(table: DataTable, names: Iterable[str], wanted: Reads, use: str, here: str) -> None:
    """SettingsError where data is missing, or its rows are not what is wanted."""
    for name in names:
        data = find_data(name, table, here)
        if isinstance(data, OfWorld):
            find_world(data, table, f"{here}.{name}")
        if holds(data) != wanted:
            raise SettingsError(f"{here}: '{name}' holds {holds(data)}, but {use} {wanted}")


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
