"""What the stages that learn from preferences share: rendered answers, the reference, evaluations on held-out rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any, ClassVar

import msgspec
import numpy as np
import torch

from tutelage.batching.datasets import SplitGroups, SplitStore
from tutelage.batching.loader import WeightedStore
from tutelage.batching.packing import to_device
from tutelage.batching.preferences import PAIR_SCHEMA, PREFERENCES, answers, pair_groups
from tutelage.batching.store import Store, add_stream
from tutelage.chat import ChatConfig, Rendered, make_renderer
from tutelage.config import SettingsError
from tutelage.evaluate.dev_eval import DevEval
from tutelage.evaluate.item_figures import item_figures
from tutelage.evaluate.samples import held_out_samples
from tutelage.evaluate.session import EvalSession
from tutelage.model.hub import Checkpoint, folder_fingerprint
from tutelage.model.lora import check_alike
from tutelage.records import Batch, Schema
from tutelage.stages.base import Reads, RecipeTables, StageContext
from tutelage.stages.data import DataTable, preferences
from tutelage.stages.fine_tune import FineTune
from tutelage.stages.held_out import SAMPLES, SAMPLING, evaluate_stores
from tutelage.stages.store_stream import store_stream
from tutelage.stages.stream import DataStream
from tutelage.stages.train_stage import TrainSetup, micro_tokens, precision_of
from tutelage.tokenizer import Tokenizer
from tutelage.train.loop import Precision
from tutelage.train.losses import Loss
from tutelage.train.preference_losses import REFERENCE
from tutelage.train.selection import Selection

# Preferences are learned at about a tenth of the rate of fine-tuning: DPO of Tulu 3 8B (arXiv 2411.15124) takes 5e-7
# after SFT at 5e-6.
PREFERENCE_LR_SHARE = 0.1


class PreferenceStage(FineTune, frozen=True, kw_only=True):
    """A stage that learns from preferences.

    replay_weight: factor of the loss on replayed text.
    max_refused:   the share of rows that may be refused because they cannot be verified, or because chosen and rejected
                   do not share their prompt tokens; they are counted by reason, and more are an error.
    keep:          as in FineTune; the dev eval of conversations does not apply, so "last" or "lowest_loss".
    """

    reads: ClassVar[Reads] = "preferences"
    chats: ClassVar[bool] = True
    loss_unit: ClassVar[str] = "per pair"
    schema: ClassVar[Schema] = PAIR_SCHEMA
    groups: ClassVar[Callable[..., SplitGroups]] = staticmethod(pair_groups)

    replay_weight: float = 1.0
    max_refused: float = 0.0
    keep: Selection = "last"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.max_refused <= 1:
            raise SettingsError(f"max_refused is {self.max_refused}; it is a share of the rows, from 0 to 1")
        if self.replay_weight != 1 and not self.replay:
            raise SettingsError(
                "replay_weight weighs replayed text, and replay is 0; set replay above 0 or leave it out"
            )
        if self.lora is not None:
            check_alike(self.lora, "both answers, and policy and reference, must be computed alike")
        if self.keep == "best_eval":
            raise SettingsError(
                'keep = "best_eval" selects by the dev eval of conversations; use "last" or "lowest_loss"'
            )

    def loss(self) -> Loss:
        """The loss, with its settings."""
        raise NotImplementedError

    def content(self) -> list[object]:
        return [PREFERENCES, *super().content()]

    def peak_lr(self, at: StageContext, checkpoint: Checkpoint) -> float:
        return super().peak_lr(at, checkpoint) * (1.0 if self.lr is not None else PREFERENCE_LR_SHARE)

    def start_settings(self, at: StageContext) -> str:
        lora = "all weights" if self.lora is None else f"lora rank {self.lora.rank}"
        precision = self.precision or "the default precision"
        folder = at.parent_folder(self)
        return f"policy: {folder}, {lora}, {precision}; reference: {folder}, {precision}, cached in {at.cache}"

    def stores(self, at: StageContext, checkpoint: Checkpoint, reference: str = "both") -> dict[str, SplitStore]:
        """The stage's data as stores; with the reference's log-probabilities in "both" parts, in those "held_out", or
        in "none"."""
        renderer = make_renderer(checkpoint.tokenizer, checkpoint.chat_config)
        context = self.context or checkpoint.model.config.context
        of = at.stores(self.held_out)
        made = {
            name: of.preferences(name, renderer, context, self.max_refused, type(self).groups, self.schema)
            for name in self.data
        }
        add = partial(self._with_reference, at, checkpoint)
        precision = precision_of(self, checkpoint.model)
        return {
            name: SplitStore(
                add(store.train, precision) if reference == "both" else store.train,
                # Evaluations compute in float32.
                add(store.held_out, "float32") if reference != "none" else store.held_out,
            )
            for name, store in made.items()
        }

    def _with_reference(self, at: StageContext, checkpoint: Checkpoint, store: Store, precision: Precision) -> Store:
        """The store with the log-probabilities of the reference: the parent as it was just loaded from its folder.
        They are computed once and kept under the parent's fingerprint."""
        model = checkpoint.model
        device = model.embedding.weight.device

        def values(batch: Batch) -> np.ndarray:
            values_N = np.zeros(len(batch.tokens_N), np.float32)
            with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
                values_N[batch.weights_N.numpy() != 0] = model(to_device(batch, device)).float().cpu().numpy()
            return values_N

        narrow = self.lora is not None and self.lora.base_dtype
        key = [folder_fingerprint(at.parent_folder(self)), precision, narrow, at.seed]
        return add_stream(store, REFERENCE, repr(key), values, micro_tokens(self, store.longest))

    def set_up(
        self,
        at: StageContext,
        checkpoint: Checkpoint,
        stores: Mapping[str, SplitStore],
        stream: Callable[[Mapping[str, WeightedStore]], DataStream] | None = None,
    ) -> TrainSetup:
        """The setup of a stage over these stores, with replayed text beside them."""
        context, total = self.context or checkpoint.model.config.context, sum(self.data.values())
        datasets = {
            name: WeightedStore(stores[name].train, share / total * (1 - self.replay))
            for name, share in self.data.items()
        }
        datasets |= self.replayed(at, checkpoint.tokenizer, context)
        made = stream(datasets) if stream else store_stream(self, at.name, datasets)
        held_out = {name: store.held_out for name, store in stores.items() if len(store.held_out)}
        texts = evaluate_stores(self, made, {}, self.base_held_out(at, checkpoint.tokenizer, context))
        evaluate = partial(self._evaluate, held_out, texts, micro_tokens(self, made.longest))
        return TrainSetup(checkpoint, made, self.loss(), self.peak_lr(at, checkpoint), evaluate)

    def _evaluate(
        self,
        held_out: Mapping[str, Store],
        texts: Callable[[Checkpoint], dict[str, Any]],
        micro: int,
        checkpoint: Checkpoint,
    ) -> dict[str, Any]:
        """`held_out.DATA`, the loss; `preferences.DATA.FIGURE`, the mean of every other figure; and samples."""
        figures, loss = texts(checkpoint), self.loss()
        assert loss.items is not None
        for name, store in held_out.items():
            columns = item_figures(checkpoint.model, store, loss.items, micro)
            figures[f"held_out.{name}"] = float(columns.pop("loss").mean())
            figures |= {f"preferences.{name}.{figure}": float(values.mean()) for figure, values in columns.items()}
            figures["samples"] = figures["samples"] + held_out_samples(checkpoint, store, SAMPLES, SAMPLING)
        return figures

    def default_suites(self, recipe: RecipeTables) -> list[str]:
        return ["preferences", *(suite for suite in super().default_suites(recipe) if suite != "held_out_rows")]

    def holds(self, at: StageContext | RecipeTables) -> frozenset[str]:
        return super().holds(at) | {"preferences"}

    def session(self, at: StageContext) -> EvalSession:
        return replace(super().session(at), open_preferences=partial(self._held_out, at), items=self.loss().items)

    def _held_out(self, at: StageContext) -> dict[str, Store]:
        """The held-out rows of each dataset, with the log-probabilities of the reference, its weights in float32."""
        plain = msgspec.structs.replace(self, lora=None)
        return {name: store.held_out for name, store in plain.stores(at, plain.start(at), "held_out").items()}

    def dev_eval(self, session: EvalSession, at: StageContext) -> DevEval | None:
        return None

    def render_sample(
        self, name: str, table: DataTable, tokenizer: Tokenizer, config: ChatConfig, rows: int, context: int
    ) -> list[Rendered]:
        """Both sides of each pair end to end, or a labelled answer."""
        found = islice((row for row in preferences(name, table) if row.split != "held_out"), rows)
        chats = [answers(row) for row in found]
        renderer = make_renderer(tokenizer, self.chat_config(config))
        made = iter(renderer.render_rows([chat for sides in chats for chat in sides]))
        rendered = ([next(made) for _ in sides] for sides in chats)
        return [joined for sides in rendered if (joined := _joined(sides)) is not None]


def _joined(sides: list[list[Rendered] | ValueError]) -> Rendered | None:
    parts = [part for side in sides if not isinstance(side, ValueError) for part in side]
    if not parts:
        return None
    ids, weights, roles = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("ids", "weights", "roles")
    )
    return Rendered(ids, weights, roles)
