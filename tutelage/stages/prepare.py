"""What each kind of stage trains on and with which loss: all that one stage has and another has not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from tutelage import tokenizer as tokenizers
from tutelage.batching.loader import Source, State, batches
from tutelage.batching.store import Store
from tutelage.chat.render.hf import has_own_template, make_renderer, taught
from tutelage.chat.render.template import TEMPLATE_TOKENS
from tutelage.config import SettingsError
from tutelage.model.hub import Checkpoint, extend_vocabulary, load_model, with_context, with_lora
from tutelage.model.sizes import ModelSettings, parameter_count, resolve
from tutelage.model.transformer import Transformer, initialise
from tutelage.process import best_device
from tutelage.records import Batch
from tutelage.stages.data import DataTable, Stores
from tutelage.stages.settings import (
    LORA_LR_TIMES,
    MICRO_TOKENS,
    SFT_LR_SHARE,
    AnyStage,
    Pretrain,
    PretrainedModel,
    Sft,
    TrainedStage,
    parent_of,
)
from tutelage.train.distributed import rank, world_size
from tutelage.train.find_lr import default_rate
from tutelage.train.losses import LossFunction, cross_entropy


@dataclass(frozen=True)
class StageContext:
    """Where a stage stands in its recipe: everything it may build on."""

    name: str
    folder: Path
    cache: Path
    seed: int
    model: ModelSettings
    data: DataTable
    stages: Mapping[str, AnyStage]
    folders: Mapping[str, Path]
    tokenizer: Path

    def ancestor(self, stage: AnyStage) -> tuple[str, Pretrain | PretrainedModel]:
        """The base model that a stage builds on, through any number of stages between."""
        name = parent_of(stage)
        assert name is not None, "asked of stages that go on from others"
        while isinstance(above := self.stages[name], Sft):
            assert above.parent is not None
            name = above.parent
        return name, above

    def stores(self, held_out: float) -> Stores:
        return Stores(self.cache, self.data, held_out)


@dataclass(frozen=True)
class TrainSetup:
    """A stage ready to run: the model as it starts, its sources by share of trained tokens, the loss and the rate.

    held_out:      the rows of its own data that it is kept from.
    base_held_out: the text that its base model was kept from; nothing for a base model.
    """

    checkpoint: Checkpoint
    sources: Mapping[str, Source]
    held_out: Mapping[str, Store]
    base_held_out: Mapping[str, Store]
    loss: LossFunction
    lr: float

    def with_model(self, model: Transformer) -> TrainSetup:
        """The same stage with other weights."""
        return replace(self, checkpoint=replace(self.checkpoint, model=model))

    @property
    def longest_group(self) -> int:
        """Tokens of the longest group of any source."""
        return max(int(source.store.tokens_G.max()) for source in self.sources.values())

    def micro_tokens(self, stage: TrainedStage) -> int:
        """Tokens of one forward pass, at most."""
        return stage.micro_tokens or max(MICRO_TOKENS, self.longest_group)

    def batches(self, stage: TrainedStage, state: State | None = None) -> Iterator[tuple[list[Batch], State]]:
        """The micro-batches of this process, step after step, from the start or from a saved state."""
        return batches(
            self.sources,
            batch_tokens=stage.batch_tokens,
            micro_tokens=self.micro_tokens(stage),
            seed=stage.seed,
            epochs=stage.epochs,
            state=state,
            rank=rank(),
            ranks=world_size(),
        )


def prepare_pretrain(stage: Pretrain, at: StageContext) -> TrainSetup:
    """Documents, every token trained, from random weights or from an earlier stage."""
    if stage.parent is None:
        tokenizer = tokenizers.load(at.tokenizer)
        config = resolve(at.model, tokenizer.vocab_size)
        checkpoint = Checkpoint(initialise(Transformer(config), at.seed).to(best_device()), tokenizer)
    else:
        checkpoint = load_model(at.folders[stage.parent])
    checkpoint = with_context(checkpoint, stage.context)
    context = stage.context or checkpoint.model.config.context
    stores = at.stores(stage.held_out)
    sources, held_out = {}, {}
    for name, share in stage.data.items():
        sources[name] = Source(stores.text(name, checkpoint.tokenizer, context, "train"), share)
        held_out[name] = stores.text(name, checkpoint.tokenizer, context, "held_out")
    return TrainSetup(checkpoint, sources, held_out, {}, cross_entropy, stage.lr)


def prepare_sft(stage: Sft, at: StageContext) -> TrainSetup:
    """Conversations, the assistant's tokens trained, with documents of the pre-training replayed beside them."""
    assert stage.parent is not None
    narrow = stage.lora is not None and stage.lora.base_dtype == "bfloat16"
    checkpoint = load_model(at.folders[stage.parent], dtype=torch.bfloat16 if narrow else None)
    known = checkpoint.tokenizer.vocab_size
    if not has_own_template(checkpoint.source):
        checkpoint = extend_vocabulary(checkpoint, TEMPLATE_TOKENS, at.seed)
    renderer = make_renderer(checkpoint.tokenizer, checkpoint.source)
    checkpoint = replace(checkpoint, source=taught(checkpoint.source, renderer))
    checkpoint = with_context(checkpoint, stage.context)
    if stage.lora is not None:
        checkpoint = with_lora(checkpoint, stage.lora, range(known, checkpoint.tokenizer.vocab_size), at.seed)
    context = stage.context or checkpoint.model.config.context
    stores = at.stores(stage.held_out)
    total = sum(stage.data.values())
    sources, held_out = {}, {}
    for name, share in stage.data.items():
        options = stage.train_on, stage.too_long, stage.max_refused
        sources[name] = Source(
            stores.chat(name, renderer, context, "train", *options), share / total * (1 - stage.replay)
        )
        held_out[name] = stores.chat(name, renderer, context, "held_out", *options)
    base_name, base = at.ancestor(stage)
    base_stores = at.stores(base.held_out)
    if stage.replay:
        replayed = stage.replay_data or base.data
        for name, share in replayed.items():
            store = base_stores.text(name, checkpoint.tokenizer, text_context(stage, name, context), "train")
            sources[f"replay.{name}"] = Source(store, share / sum(replayed.values()) * stage.replay)
    base_held_out = {
        name: base_stores.text(name, checkpoint.tokenizer, text_context(stage, name, context), "held_out")
        for name in {**base.data, **stage.replay_data}
    }
    times = 1 if stage.lora is None else LORA_LR_TIMES
    rate = stage.lr if stage.lr is not None else base.lr and base.lr * SFT_LR_SHARE * times
    if rate is None and stage.find_lr:
        rate = default_rate(parameter_count(checkpoint.model.config)) * times
    if rate is None:
        raise SettingsError(f"stages.{base_name} does not say the rate it was trained with; set stages.{at.name}.lr")
    return TrainSetup(checkpoint, sources, held_out, base_held_out, cross_entropy, rate)


def text_context(stage: Sft, name: str, context: int) -> int:
    """The longest piece of text `name` that a stage replays or is measured on, in tokens. Documents given for a model
    made elsewhere may be books, and its context may hold one: a single piece would then be more than a step."""
    return min(context, MICRO_TOKENS, max(2, stage.batch_tokens // 2)) if name in stage.replay_data else context


def prepare(stage: TrainedStage, at: StageContext) -> TrainSetup:
    """Everything a stage needs to run; tokenises its data where that has not been done yet."""
    prepared = prepare_sft(stage, at) if isinstance(stage, Sft) else prepare_pretrain(stage, at)
    for name, source in prepared.sources.items():
        if not len(source.store):
            raise ValueError(f"stage {at.name}: nothing is left to train on in '{name}'; see its ledger")
    model = prepared.checkpoint.model
    if stage.recompute and model.config.foreign_parameters is not None:
        raise SettingsError(f"stage {at.name}: recompute is for the built-in architectures, and its model is another")
    model.recompute = stage.recompute
    if stage.micro_tokens and stage.micro_tokens < prepared.longest_group:
        raise SettingsError(
            f"stage {at.name}: micro_tokens = {stage.micro_tokens}, but its longest conversation or piece of text has "
            f"{prepared.longest_group} tokens; raise micro_tokens to at least that"
        )
    return prepared
