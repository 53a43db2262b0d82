"""Specialists: a head on a model that names the class of a text, the tag of each word, or the span of an answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice
from typing import Any, ClassVar, Literal

import msgspec
import torch

from tutelage.batching.datasets import SplitLedgers, SplitStore, open_or_write
from tutelage.batching.labelled import (
    HEADS,
    LABELLED,
    LabelEncoder,
    LabelTask,
    label_names,
    labelled_groups,
    split_of_labelled,
)
from tutelage.batching.loader import WeightedStore, micro_batches
from tutelage.batching.packing import to_device
from tutelage.batching.store import Store
from tutelage.chat import ChatConfig, Rendered, render_documents
from tutelage.config import SettingsError
from tutelage.evaluate.session import EvalSession
from tutelage.evaluate.specialists import make_encoder
from tutelage.model.heads import add_head
from tutelage.model.hub import Checkpoint, load_model, with_context
from tutelage.model.sizes import parameter_count
from tutelage.records import Labelled
from tutelage.stages.base import Reads, RecipeTables, StageContext
from tutelage.stages.data import DataTable, identity, labelled_data
from tutelage.stages.fine_tune import FINE_TUNE_LR_SHARE
from tutelage.stages.store_stream import store_stream
from tutelage.stages.train_stage import TrainSetup, TrainStage, micro_tokens
from tutelage.tokenizer import Tokenizer
from tutelage.train.label_losses import class_loss, span_loss
from tutelage.train.losses import Loss
from tutelage.train.lr_range_test import default_lr
from tutelage.train.metrics import Metrics

SUITES: Mapping[LabelTask, str] = {"sequence": "classification", "token": "tags", "span": "spans"}


class Classify(TrainStage, tag="classify", tag_field="kind", frozen=True, kw_only=True):
    """Train a specialist: all weights of a model and a new head, on labelled rows. Works on encoders (a stage of kind
    "mlm", a BERT) and on causal models.

    task:     "sequence" names the class of a text, "token" the tag of each word, "span" the start and end of the answer
              to a question in a passage; a passage longer than the context is cut into windows.
    lr:       peak learning rate; where left out a third of that of the stage below.
    too_long: what happens to a row longer than the context: an error, or dropped and counted.
    """

    reads: ClassVar[Reads] = "labelled"
    title: ClassVar[str] = "specialist"
    loss_unit: ClassVar[str] = "nats per label"

    task: LabelTask
    too_long: Literal["error", "drop"] = "error"

    def __post_init__(self) -> None:
        if self.epochs is None and self.steps is None:
            msgspec.structs.force_setattr(self, "epochs", 3)
        super().__post_init__()
        if self.parent is None:
            raise SettingsError('a specialist needs a model to start from: say from = "STAGE"')

    def default_suites(self, recipe: RecipeTables) -> list[str]:
        return [SUITES[self.task]]

    def holds(self, at: RecipeTables | StageContext) -> frozenset[str]:
        return super().holds(at) | {f"{self.task}_labels"}

    def session(self, at: StageContext) -> EvalSession:
        session = super().session(at)
        session.folders = {**session.folders, "parent": at.parent_folder(self)}
        session.open_labelled = partial(self.held_out_rows, at)
        return session

    def held_out_rows(self, at: StageContext) -> dict[str, list[Labelled]]:
        """The held-out rows of each dataset, without those that are longer than the context."""
        encoder = make_encoder(load_model(at.folder), self.task, self.context)
        rows = {name: self._rows(name, at.data, "held_out") for name in self.data}
        return {name: [row for row in found if self._fits(row, encoder)] for name, found in rows.items()}

    def _fits(self, row: Labelled, encoder: LabelEncoder) -> bool:
        return all(len(window.ids) <= encoder.context for window in encoder.encode(row))

    def _rows(self, name: str, table: DataTable, split: str) -> list[Labelled]:
        return [row for row in labelled_data(name, table) if split_of_labelled(row, self.held_out) == split]

    def prepare(self, at: StageContext) -> TrainSetup:
        """The parent with a new head, and labelled rows."""
        checkpoint = with_context(load_model(at.parent_folder(self)), self.context)
        labels = label_names((row for name in self.data for row in self._rows(name, at.data, "train")), self.task)
        if self.task != "span" and len(labels) < 2:
            raise SettingsError(f"stage {at.name}: its rows have {len(labels)} labels; a {self.task} task needs two")
        checkpoint = self._with_head(checkpoint, labels, at.seed)
        encoder = make_encoder(checkpoint, self.task, self.context)
        stores = {name: self._stores(name, at, encoder) for name in self.data}
        datasets = {name: WeightedStore(stores[name].train, share) for name, share in self.data.items()}
        stream = store_stream(self, at.name, datasets)
        loss = span_loss(HEADS["span"]) if self.task == "span" else class_loss(HEADS[self.task])
        held_out = {name: store.held_out for name, store in stores.items()}
        evaluate = evaluate_labels(held_out, loss, micro_tokens(self, stream.longest))
        return TrainSetup(checkpoint, stream, loss, self._peak_lr(at, checkpoint), evaluate)

    def _with_head(self, checkpoint: Checkpoint, labels: tuple[str, ...], seed: int) -> Checkpoint:
        """A new head; one of the same name, such as that of an earlier specialist, gives way."""
        model, head = checkpoint.model, HEADS[self.task]
        if head in model.heads:
            del model.heads[head]
        checkpoint = add_head(checkpoint, head, len(labels) or 2, seed)
        names = {**model.config.output_labels, **({head: labels} if labels else {})}
        model.config = msgspec.structs.replace(model.config, output_labels=names)
        return checkpoint

    def _peak_lr(self, at: StageContext, checkpoint: Checkpoint) -> float:
        assert self.parent is not None
        below = at.stages[self.parent].lr
        if self.lr is not None:
            return self.lr
        return below * FINE_TUNE_LR_SHARE if below else default_lr(parameter_count(checkpoint.model.config))

    def _stores(self, name: str, at: StageContext, encoder: LabelEncoder) -> SplitStore:
        ledgers = SplitLedgers.of(f"{name}: labelled rows to tokens")
        options = [self.held_out, self.too_long, encoder.task, encoder.labels, encoder.context, encoder.causal]
        key = [LABELLED, identity(name, at.data), encoder.tokenizer.fingerprint(), encoder.typed, *options]
        rows = labelled_data(name, at.data)
        groups = labelled_groups(rows, encoder, self.held_out, self.too_long == "drop", ledgers)
        return open_or_write(at.cache, key, groups, ledgers, encoder.schema())

    def render_sample(
        self, name: str, table: DataTable, tokenizer: Tokenizer, config: ChatConfig, rows: int, context: int
    ) -> list[Rendered]:
        texts = [f"{row.text} {row.second}" for row in islice(labelled_data(name, table), rows)]
        return render_documents(texts, tokenizer)


def evaluate_labels(held_out: Mapping[str, Store], loss: Loss, micro: int) -> Callable[[Checkpoint], dict[str, Any]]:
    """A function that gives the mean loss on each held-out store, and the share of right labels where there is one."""

    @torch.inference_mode()
    def evaluate(checkpoint: Checkpoint) -> dict[str, Any]:
        figures: dict[str, Any] = {}
        device = checkpoint.model.embedding.weight.device
        for name, store in held_out.items():
            if len(store):
                metrics = Metrics()
                groups = [store.group(index) for index in range(len(store))]
                for batch in micro_batches(groups, max(micro, store.longest), schema=store.schema):
                    metrics.add(loss.function(checkpoint.model, to_device(batch, device))[1])
                means = metrics.means()
                figures[f"held_out.{name}"] = means["loss"]
                figures |= {f"held_out_accuracy.{name}": means[key] for key in means.keys() & {"accuracy"}}
        return figures

    return evaluate
