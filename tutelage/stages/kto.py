"""KTO: learn from single answers that are labelled desirable or not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import ClassVar

from tutelage.batching.datasets import SplitGroups
from tutelage.batching.loader import DataState, WeightedStore, micro_batches, step_groups, step_schema
from tutelage.batching.preferences import LABEL_SCHEMA, labelled_groups
from tutelage.config import SettingsError
from tutelage.model.transformer import Transformer
from tutelage.records import Schema
from tutelage.stages.base import StageContext
from tutelage.stages.preferences import PreferenceStage
from tutelage.stages.store_stream import store_stream
from tutelage.stages.stream import DataStream, StepBatches
from tutelage.stages.train_stage import TrainSetup, micro_tokens, precision_of
from tutelage.train.layout import data_rank, data_world_size
from tutelage.train.losses import Loss
from tutelage.train.preference_losses import Z0, estimate_z0, kto_loss


class Kto(PreferenceStage, tag="kto", tag_field="kind", frozen=True, kw_only=True):
    """Learn from answers labelled desirable or undesirable; a pair is one of each.

    beta:               how strongly log-ratios count.
    desirable_weight, undesirable_weight: factors of the loss on either; where labels are unbalanced, the paper wants
                        their products with the numbers of rows between 1:1 and 4:3.
    """

    title: ClassVar[str] = "preference training (KTO)"
    loss_unit: ClassVar[str] = "per answer"
    schema: ClassVar[Schema] = LABEL_SCHEMA
    groups: ClassVar[Callable[..., SplitGroups]] = staticmethod(labelled_groups)

    beta: float = 0.1
    desirable_weight: float = 1.0
    undesirable_weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not min(self.beta, self.desirable_weight, self.undesirable_weight) > 0:
            raise SettingsError("beta, desirable_weight and undesirable_weight must be above 0")

    def loss(self) -> Loss:
        return kto_loss(self.beta, self.desirable_weight, self.undesirable_weight, self.replay_weight)

    def prepare(self, at: StageContext) -> TrainSetup:
        """Labelled answers with the parent's log-probabilities; z0 is computed for each step."""
        checkpoint = self.start(at)
        return self.set_up(at, checkpoint, self.stores(at, checkpoint), partial(self._stream, at, checkpoint.model))

    def _stream(self, at: StageContext, model: Transformer, datasets: Mapping[str, WeightedStore]) -> DataStream:
        """The stream of the stores, with z0 put into every step before it is cut into micro-batches."""
        plain = store_stream(self, at.name, datasets)
        micro, bfloat16 = micro_tokens(self, plain.longest), precision_of(self, model) == "bfloat16"
        schema = step_schema(datasets) | Schema(scalars={Z0: 0.0})

        def stream(state: DataState, endless: bool) -> StepBatches:
            epochs = None if endless else self.epochs
            for groups, after in step_groups(datasets, plain.step_tokens, self.seed, epochs, state, self.batch_rows):
                others = [(group[1],) for group in groups if len(group) > 1]
                part = data_rank(), data_world_size()
                batches = micro_batches(others, micro, *part, step_schema(datasets)) if others else []
                z0 = estimate_z0(model, batches, bfloat16)
                own = [(replace(group[0], scalars={**group[0].scalars, Z0: z0}),) for group in groups]
                yield micro_batches(own, micro, data_rank(), data_world_size(), schema), after

        return replace(plain, batches=stream)
