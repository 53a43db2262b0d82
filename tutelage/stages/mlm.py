"""Masked language modelling: name the hidden tokens of documents, from both sides (BERT)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any, ClassVar

import msgspec
import torch

from tutelage import tokenizer as tokenizers
from tutelage.batching.loader import WeightedStore, micro_batches
from tutelage.batching.masking import MASK, Masking, make_masking, mask_token
from tutelage.batching.packing import to_device
from tutelage.batching.store import Store
from tutelage.chat import ChatConfig, Rendered, render_documents
from tutelage.config import SettingsError
from tutelage.model.hub import Checkpoint, extend_vocabulary, load_model, with_context
from tutelage.model.sizes import resolve
from tutelage.model.transformer import Transformer, initialise
from tutelage.process import best_device
from tutelage.stages.base import Reads, StageContext
from tutelage.stages.data import DataTable, documents
from tutelage.stages.store_stream import store_stream
from tutelage.stages.train_stage import TrainSetup, TrainStage, micro_tokens
from tutelage.tokenizer import Tokenizer
from tutelage.train.losses import CROSS_ENTROPY


class Mlm(TrainStage, tag="mlm", tag_field="kind", frozen=True, kw_only=True):
    """Learn to name hidden tokens of documents. The model reads in both directions; it cannot write.

    lr:         peak learning rate; to train a published BERT further, 5e-5 is usual.
    mask_share: of the tokens of each text that are labels: of these 80% are hidden, 10% replaced at random, 10% left as
                they are. Each epoch chooses others.
    """

    reads: ClassVar[Reads] = "documents"
    title: ClassVar[str] = "masked-LM training"
    loss_unit: ClassVar[str] = "nats per masked token"

    lr: float | None = 1e-3
    mask_share: float = 0.15

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.mask_share < 1:
            raise SettingsError(f"mask_share is {self.mask_share}; it is a share of the tokens: above 0, below 1")

    def prepare(self, at: StageContext) -> TrainSetup:
        """Documents, masked tokens trained, from random weights or from an earlier model."""
        checkpoint = with_context(self._start(at), self.context)
        context = self.context or checkpoint.model.config.context
        stores = {name: at.stores(self.held_out).text(name, checkpoint.tokenizer, context) for name in self.data}
        datasets = {name: WeightedStore(stores[name].train, share) for name, share in self.data.items()}
        masking = make_masking(checkpoint.tokenizer, self.mask_share, self.seed)
        stream = store_stream(self, at.name, datasets, masking.apply)
        held_out = {name: store.held_out for name, store in stores.items()}
        evaluate = evaluate_masked(held_out, masking, micro_tokens(self, stream.longest))
        assert self.lr is not None
        return TrainSetup(checkpoint, stream, CROSS_ENTROPY, self.lr, evaluate)

    def _start(self, at: StageContext) -> Checkpoint:
        """A model that reads in both directions, with a mask token."""
        if self.parent is None:
            tokenizer = tokenizers.load(at.tokenizer).extend((MASK,))
            config = msgspec.structs.replace(resolve(at.model, tokenizer.vocab_size), causal=False)
            return Checkpoint(initialise(Transformer(config), at.seed).to(best_device()), tokenizer)
        checkpoint = load_model(at.parent_folder(self))
        config = checkpoint.model.config
        if config.hf_parameters is not None or config.window is not None or config.attention_softcap is not None:
            raise SettingsError(
                f"stage {at.name}: its model cannot read in both directions (sliding windows, capped scores, or an "
                "architecture that is not built in); start from another, or from random weights"
            )
        if mask_token(checkpoint.tokenizer) is None:
            checkpoint = extend_vocabulary(checkpoint, (MASK,), at.seed)
        return both_ways(checkpoint)

    def render_sample(
        self, name: str, table: DataTable, tokenizer: Tokenizer, config: ChatConfig, rows: int, context: int
    ) -> list[Rendered]:
        texts = (document.text for document in documents(name, table) if document.split != "held_out")
        return render_documents(list(islice(texts, rows)), tokenizer)


def both_ways(checkpoint: Checkpoint) -> Checkpoint:
    """The same weights in a model that reads in both directions; a causal family's layout no longer describes it."""
    model = checkpoint.model
    if not model.config.causal:
        return checkpoint
    with torch.device("meta"):
        other = Transformer(msgspec.structs.replace(model.config, causal=False))
    other.load_state_dict(model.state_dict(), assign=True)
    other.reset_rotations()
    return replace(checkpoint, model=other, hub_config=None)


def evaluate_masked(
    held_out: Mapping[str, Store], masking: Masking, micro: int
) -> Callable[[Checkpoint], dict[str, Any]]:
    """A function that gives the mean loss on hidden tokens of held-out documents, always the same ones."""

    @torch.inference_mode()
    def loss(model: Transformer, store: Store) -> float:
        groups = masking.apply([store.group(index) for index in range(len(store))], "held out")
        batches = micro_batches(groups, max(micro, store.longest))
        device = model.embedding.weight.device
        nats = sum(float(-model(to_device(batch, device)).double().sum()) for batch in batches)
        return nats / sum(batch.count for batch in batches)

    def evaluate(checkpoint: Checkpoint) -> dict[str, Any]:
        stores = {name: store for name, store in held_out.items() if len(store)}
        return {f"held_out.{name}": loss(checkpoint.model, store) for name, store in stores.items()}

    return evaluate
