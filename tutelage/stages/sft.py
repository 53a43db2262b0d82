"""Supervised fine-tuning: learn to answer, from conversations."""

from __future__ import annotations

from itertools import islice
from typing import ClassVar

from tutelage.batching.datasets import SplitStore, TooLong, too_long_error
from tutelage.batching.loader import WeightedStore
from tutelage.chat import ChatConfig, Rendered, TrainOn, make_renderer
from tutelage.config import SettingsError
from tutelage.model.hub import Checkpoint
from tutelage.stages.base import Reads, StageContext
from tutelage.stages.data import DataTable, conversations
from tutelage.stages.fine_tune import FineTune
from tutelage.stages.held_out import evaluate_stores
from tutelage.stages.store_stream import store_stream
from tutelage.stages.train_stage import TrainSetup
from tutelage.tokenizer import Tokenizer
from tutelage.train.losses import CROSS_ENTROPY


class Sft(FineTune, tag="sft", tag_field="kind", frozen=True, kw_only=True):
    """Learn to answer: supervised fine-tuning on conversations.

    lr:       peak learning rate; where left out a third of the rate of the pre-training below it, and with lora ten
              times that.
    train_on: "assistant" trains every assistant turn, "last_assistant" the last one; "response_only" trains every
              assistant turn without its context (response tuning, arXiv 2410.02465); "all_tokens" trains users' tokens
              too.
    too_long: what happens to a conversation longer than the context: an error, dropped and counted, or split by turns.
    max_refused: the share of conversations that may be refused because the model's template cannot be verified on
              them; they are counted by reason, and more are an error.
    """

    reads: ClassVar[Reads] = "conversations"
    title: ClassVar[str] = "fine-tuning"
    chats: ClassVar[bool] = True

    train_on: TrainOn = "assistant"
    too_long: TooLong = "error"
    max_refused: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.max_refused <= 1:
            raise SettingsError(f"max_refused is {self.max_refused}; it is a share of the rows, from 0 to 1")

    def prepare(self, at: StageContext) -> TrainSetup:
        """Conversations, the assistant's tokens trained, and replayed pre-training text beside them."""
        checkpoint = self.start(at)
        context = self.context or checkpoint.model.config.context
        stores = self.row_stores(at, checkpoint)
        total = sum(self.data.values())
        datasets = {
            name: WeightedStore(stores[name].train, share / total * (1 - self.replay))
            for name, share in self.data.items()
        }
        held_out = {name: store.held_out for name, store in stores.items()}
        datasets |= self.replayed(at, checkpoint.tokenizer, context)
        base_held_out = self.base_held_out(at, checkpoint.tokenizer, context)
        stream = store_stream(self, at.name, datasets)
        evaluate = evaluate_stores(self, stream, held_out, base_held_out)
        return TrainSetup(checkpoint, stream, CROSS_ENTROPY, self.peak_lr(at, checkpoint), evaluate)

    def row_stores(self, at: StageContext, checkpoint: Checkpoint) -> dict[str, SplitStore]:
        """The conversations of each dataset, as the stage trains on them and holds them out."""
        renderer = make_renderer(checkpoint.tokenizer, checkpoint.chat_config)
        context = self.context or checkpoint.model.config.context
        options = context, self.train_on, self.too_long, self.max_refused
        return {name: at.stores(self.held_out).chat(name, renderer, *options) for name in self.data}

    def render_sample(
        self, name: str, table: DataTable, tokenizer: Tokenizer, config: ChatConfig, rows: int, context: int
    ) -> list[Rendered]:
        chats = list(islice((row for row in conversations(name, table) if row.split != "held_out"), rows))
        made = make_renderer(tokenizer, self.chat_config(config)).render_rows(chats, self.train_on)
        refused = [row for row in made if isinstance(row, ValueError)]
        if len(refused) > self.max_refused * len(made):
            raise refused[0]
        for chat, parts in zip(chats, made, strict=True):
            tokens = 0 if isinstance(parts, ValueError) else max(len(rendered.ids) for rendered in parts)
            if tokens > context and self.too_long == "error":
                raise too_long_error(chat, tokens, context)
        return [rendered for row in made if not isinstance(row, ValueError) for rendered in row]
