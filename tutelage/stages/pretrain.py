"""Pre-training: predict every token of documents, from random weights. Mid-training: the same from an earlier stage."""

from __future__ import annotations

from itertools import islice
from typing import ClassVar

from tutelage import tokenizer as tokenizers
from tutelage.batching.loader import WeightedStore
from tutelage.chat import ChatConfig, Rendered, render_documents
from tutelage.model.hub import Checkpoint, load_model, with_context
from tutelage.model.sizes import resolve
from tutelage.model.transformer import Transformer, initialise
from tutelage.process import best_device
from tutelage.stages.base import Reads, StageContext
from tutelage.stages.data import DataTable, documents
from tutelage.stages.held_out import evaluate_stores
from tutelage.stages.store_stream import store_stream
from tutelage.stages.train_stage import TrainSetup, TrainStage
from tutelage.tokenizer import Tokenizer
from tutelage.train.losses import CROSS_ENTROPY


class Pretrain(TrainStage, tag="pretrain", tag_field="kind", frozen=True, kw_only=True):
    """Learn to predict every token of documents.

    lr: peak learning rate.
    """

    reads: ClassVar[Reads] = "documents"
    title: ClassVar[str] = "pre-training"

    lr: float | None = 3e-3

    def prepare(self, at: StageContext) -> TrainSetup:
        """Documents, every token trained, from random weights or from an earlier stage."""
        if self.parent is None:
            tokenizer = tokenizers.load(at.tokenizer)
            config = resolve(at.model, tokenizer.vocab_size)
            checkpoint = Checkpoint(initialise(Transformer(config), at.seed).to(best_device()), tokenizer)
        else:
            checkpoint = load_model(at.parent_folder(self))
        checkpoint = with_context(checkpoint, self.context)
        context = self.context or checkpoint.model.config.context
        stores = {name: at.stores(self.held_out).text(name, checkpoint.tokenizer, context) for name in self.data}
        datasets = {name: WeightedStore(stores[name].train, share) for name, share in self.data.items()}
        held_out = {name: store.held_out for name, store in stores.items()}
        stream = store_stream(self, at.name, datasets)
        assert self.lr is not None
        return TrainSetup(checkpoint, stream, CROSS_ENTROPY, self.lr, evaluate_stores(self, stream, held_out, {}))

    def render_sample(
        self, name: str, table: DataTable, tokenizer: Tokenizer, config: ChatConfig, rows: int, context: int
    ) -> list[Rendered]:
        texts = (document.text for document in documents(name, table) if document.split != "held_out")
        return render_documents(list(islice(texts, rows)), tokenizer)
