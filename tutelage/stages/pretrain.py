"""Pre-training: predict every token of documents, from random weights. Mid-training: the same from an earlier stage."""

from __future__ import annotations

from itertools import islice
from typing import ClassVar, Literal

from tutelage import tokenizer as tokenizers
from tutelage.batching.loader import BatchTokens, Order, WeightedStore
from tutelage.chat import ChatConfig, Rendered, render_documents
from tutelage.chat.render.make import base_config
from tutelage.config import SettingsError
from tutelage.model.hub import Checkpoint, load_model, with_context
from tutelage.model.sizes import resolve
from tutelage.model.transformer import Transformer
from tutelage.process import best_device
from tutelage.stages.base import Reads, StageContext
from tutelage.stages.data import DataTable, documents
from tutelage.stages.held_out import evaluate_stores
from tutelage.stages.store_stream import store_stream
from tutelage.stages.train_stage import TrainSetup, TrainStage
from tutelage.tokenizer import Tokenizer
from tutelage.train.losses import CROSS_ENTROPY
from tutelage.train.mtp import MtpTraining
from tutelage.train.schedule import decay_start
from tutelage.train.width import scaled_model


class Pretrain(TrainStage, tag="pretrain", tag_field="kind", frozen=True, kw_only=True):
    """Learn to predict every token of documents.

    lr: peak learning rate.
    batch_schedule: pairs of trained tokens and batch_tokens, rising: once the stage has trained on so many tokens, a
                    step reads so many, at most; before the first pair, batch_tokens. DeepSeek-V3 grew its batch five
                    times this way (arXiv 2412.19437, section 4.2).
    order: in which documents are read: "shuffled" anew every epoch; by "length", the shortest first; or by "subject":
           those of one person, or of another subject in their metadata, one after the other.
    rope: how rotary positions follow a longer `context`: as they are, or scaled by YaRN (arXiv 2309.00071), from the
          context that the model had before it was first extended.
    mtp_weight: the weight of multi-token prediction in the loss, of models that have it (`model.mtp`). DeepSeek-V3 and
                V4 take 0.3, and 0.1 at the end.
    mtp_decay_weight: the weight from the step on at which the schedule "wsd" lowers the rate; default the same.
    """

    reads: ClassVar[Reads] = "documents"
    title: ClassVar[str] = "pre-training"

    lr: float | None = 3e-3
    batch_schedule: tuple[tuple[float, int], ...] = ()
    order: Literal["shuffled", "length", "subject"] = "shuffled"
    rope: Literal["keep", "yarn"] = "keep"
    mtp_weight: float = 0.3
    mtp_decay_weight: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        starts = [start for start, _ in self.batch_schedule]
        if (
            any(tokens < 1 for _, tokens in self.batch_schedule)
            or starts != sorted(set(starts))
            or min([0, *starts]) < 0
        ):
            raise SettingsError(
                "batch_schedule needs pairs of trained tokens, rising, and batch_tokens of at least 1, such as "
                "[[1e6, 16384], [4e6, 65536]]"
            )
        if min(self.mtp_weight, self.mtp_decay_weight or 0) < 0:
            raise SettingsError("mtp_weight and mtp_decay_weight must not be negative")
        if self.rope != "keep" and self.context is None:
            raise SettingsError('rope = "yarn" scales positions for a longer context; set context')
        if self.batch_schedule and self.batch_rows is not None:
            raise SettingsError("batch_schedule and batch_rows both say how large a step is; give one of the two")

    def batch_plan(self, tokens: float, longest: int) -> BatchTokens:
        first, schedule = self.step_tokens(tokens, longest), self.batch_schedule
        if not schedule:
            return first

        def batch_tokens(trained: float) -> int:
            return next((size for start, size in reversed(schedule) if trained >= start), first)

        return batch_tokens

    def prepare(self, at: StageContext) -> TrainSetup:
        """Documents, every token trained, from random weights or from an earlier stage."""
        if self.parent is None:
            tokenizer = tokenizers.load(at.tokenizer)
            config = resolve(at.model, tokenizer.vocab_size)
            model = scaled_model(config, at.seed, self.optimizer.base_width)
            checkpoint = Checkpoint(model.to(best_device()), tokenizer, base_config(tokenizer))
        else:
            checkpoint = load_model(at.parent_folder(self), mtp=True)
        checkpoint = with_context(checkpoint, self.context, self.rope)
        context = self.context or checkpoint.model.config.context
        by_subject = self.order == "subject"
        texts = at.stores(self.held_out)
        stores = {name: texts.text(name, checkpoint.tokenizer, context, by_subject) for name in self.data}
        order: Order = "written" if self.order == "subject" else self.order
        datasets = {name: WeightedStore(stores[name].train, share, order) for name, share in self.data.items()}
        held_out = {name: store.held_out for name, store in stores.items()}
        stream = store_stream(self, at.name, datasets)
        assert self.lr is not None
        return TrainSetup(checkpoint, stream, CROSS_ENTROPY, self.lr, evaluate_stores(self, stream, held_out, {}))

    def mtp_training(self, model: Transformer, steps: int) -> MtpTraining | None:
        if not model.config.mtp:
            return None
        late = self.mtp_weight if self.mtp_decay_weight is None else self.mtp_decay_weight
        return MtpTraining(model, lambda step: self.mtp_weight if step < decay_start(self.schedule, steps) else late)

    def render_sample(
        self, name: str, table: DataTable, tokenizer: Tokenizer, config: ChatConfig, rows: int, context: int
    ) -> list[Rendered]:
        texts = (document.text for document in documents(name, table) if document.split != "held_out")
        return render_documents(list(islice(texts, rows)), tokenizer)
