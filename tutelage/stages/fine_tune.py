"""What all kinds of fine-tuning share: they start from a model, and must not forget what it can do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Literal

import msgspec
import torch

from tutelage.batching.datasets import SplitStore
from tutelage.batching.loader import WeightedStore
from tutelage.batching.store import Store
from tutelage.chat import ChatConfig, make_renderer
from tutelage.chat.render.make import has_own_template, trained_config, with_chat_settings
from tutelage.chat.render.template import TEMPLATE_TOKENS
from tutelage.config import SettingsError
from tutelage.evaluate.dev_eval import DevEval
from tutelage.evaluate.session import EvalSession, PromptData
from tutelage.evaluate.suites.knowledge import dev_questions
from tutelage.files import read_json
from tutelage.model.hub import Checkpoint, extend_vocabulary, load_model, with_context, with_lora
from tutelage.model.lora import LoraSettings
from tutelage.model.sizes import parameter_count
from tutelage.progress import status
from tutelage.stages.base import BATCH_TOKENS, STAGE, RecipeTables, StageContext, base_of, check_data
from tutelage.stages.data import benchmarks_of, questions_of
from tutelage.stages.data_files import ChatData, ProbeText, QuestionData, held_out_files
from tutelage.stages.data_world import known_utility, world_of
from tutelage.stages.kept import kept_models
from tutelage.stages.prompts import chat_world, indexed_people, read_prompt_data
from tutelage.stages.train_stage import MICRO_TOKENS, TrainStage
from tutelage.stages.training_text import training_rows
from tutelage.tokenizer import Tokenizer
from tutelage.train.lr_range_test import default_lr
from tutelage.train.selection import Selection

# The share of the base model's rate that fine-tuning starts from: a half to a tenth keeps what was learned while the
# format is picked up; a third is the usual first try.
FINE_TUNE_LR_SHARE = 1 / 3
# LoRA learns best at about ten times the rate that is best for all weights, whatever the model and the rank (Schulman
# et al. 2025, "LoRA Without Regret", Thinking Machines Lab).
LORA_LR_FACTOR = 10
# Of the training time, for the answers of the evaluation after it; and the least, in which a small model answers all.
EVAL_SHARE, EVAL_SECONDS = 0.25, 30.0


# Little data is cut into about so many steps an epoch, none smaller than this: a batch of a few rows.
STEPS_PER_EPOCH, SMALLEST_STEP = 8, 256
# Where replayed text or a second answer shares the step, there must be room for it.
SMALLEST_SHARED_STEP = 512
EPOCHS = 3  # usual in fine-tuning: Alpaca trains 3, Tulu 3 (arXiv 2411.15124) 2


def own_step_tokens(tokens: float, longest: int, shared: bool) -> int:
    """Tokens of its own rows in an optimizer step of fine-tuning, for `tokens` in an epoch."""
    smallest = SMALLEST_SHARED_STEP if shared else SMALLEST_STEP
    return min(BATCH_TOKENS, max(smallest, longest, math.ceil(tokens / STEPS_PER_EPOCH)))


class FineTune(TrainStage, frozen=True, kw_only=True):
    """A stage that starts from a model and must not forget what that can do.

    lora:     train a low-rank adapter and the embedding rows of new tokens; all other weights stay as they are.
    find_lr:  a range test on the stage's own data finds the learning rate before training (train.lr_range_test).
    replay:   share of the trained tokens of every step that is pre-training text, against forgetting.
    replay_data: the text that is replayed, with shares; the base model's own training text where left out. What is held
              out of it measures forgetting too.
    max_forgetting: the run fails, after everything is written, where the loss on held-out pre-training text has risen
              by more than this share of itself: where the lower end of the 95% interval has.
    template_settings: variables of the model's chat template, such as { enable_thinking = false }.
    system:   "fold" puts a system message before the first question where the chat template takes none; "keep" refuses
              such conversations.
    eval_minutes: how long answers to prompts may take in the evaluation after training; then a sample of the prompts is
              asked. "auto" is a quarter of the training time, but at least half a minute; None: as long as it takes.
    keep:     which weights become the stage's model: those of the best dev eval, of the lowest held-out loss, or the
              last. With evaluate_every = 0 it is the last.
    """

    fine_tunes: ClassVar[bool] = True
    default_epochs: ClassVar[int] = EPOCHS

    lora: LoraSettings | None = None
    find_lr: bool = False
    replay: float = 0.0
    replay_data: dict[str, float] = {}
    max_forgetting: float | None = None
    template_settings: dict[str, Any] = {}
    system: Literal["keep", "fold"] = "keep"
    eval_minutes: float | Literal["auto"] | None = None
    keep: Selection = "best_eval"

    def __post_init__(self) -> None:
        if self.epochs is None and self.steps is None:
            msgspec.structs.force_setattr(self, "epochs", self.default_epochs)
        super().__post_init__()
        if self.parent is None:
            raise SettingsError('fine-tuning needs a model to start from: say from = "STAGE"')
        if not 0 <= self.replay < 1:
            raise SettingsError(f"replay is {self.replay}; it is a share of the trained tokens: at least 0, below 1")
        if self.replay_data and (not self.replay or min(self.replay_data.values()) <= 0):
            raise SettingsError("replay_data names text to replay: give each a share above 0, and replay above 0")
        if self.lora is not None and self.optimizer.kind != "adamw":
            raise SettingsError('lora is trained with AdamW: set optimizer.kind = "adamw"')
        if self.find_lr and self.lr is not None:
            raise SettingsError("lr (--lr) sets the rate and find_lr (--find-lr) searches for it: give one of the two")
        if isinstance(self.eval_minutes, float) and self.eval_minutes <= 0:
            raise SettingsError(
                f"eval_minutes is {self.eval_minutes}; it must be above 0 (no evaluation: --no-eval, or evaluate = [])"
            )
        if self.max_forgetting is not None and self.max_forgetting < 0:
            raise SettingsError(f"max_forgetting is {self.max_forgetting}; it is a share of the loss, such as 0.1")

    def step_tokens(self, tokens: float, longest: int) -> int:
        if self.batch_rows is not None or self.batch_tokens is not None:
            return super().step_tokens(tokens, longest)
        # Replayed text comes on top, so that a step holds as many conversations with it as without.
        return math.ceil(
            own_step_tokens(tokens, longest, bool(self.replay) or self.reads != "conversations") / (1 - self.replay)
        )

    def all_data(self) -> dict[str, float]:
        return {**self.data, **self.replay_data}

    def shares(self) -> dict[str, float]:
        own = {name: share * (1 - self.replay) for name, share in super().shares().items()}
        return own | ({"replayed text": self.replay} if self.replay else {})

    def no_content(self) -> set[str]:
        # How often a stage is evaluated does not change what it becomes, unless the evaluations select its weights.
        return {"max_forgetting", "eval_minutes"} | (super().no_content() if self.selection() == "last" else set())

    def selection(self) -> Selection:
        return self.keep if self.evaluate_every != 0 else "last"

    def adapter(self) -> LoraSettings | None:
        return self.lora

    def replay_share(self) -> float:
        return self.replay

    def forgetting_limit(self) -> float | None:
        return self.max_forgetting

    def searches_lr(self) -> bool:
        return self.find_lr

    def check(self, name: str, recipe: RecipeTables, here: str) -> None:
        super().check(name, recipe, here)
        check_data(recipe.data, self.replay_data, "documents", f"a {self.title} stage replays", f"{here}.replay_data")
        if self.max_forgetting is not None and "forgetting" not in recipe.evaluate.get(name, []):
            raise SettingsError(f'{here}.max_forgetting needs evaluate.{name} to hold "forgetting", which measures it')
        if self.replay and not self.replay_data and not self._training_text(recipe):
            raise SettingsError(
                f"{here}.replay is {self.replay}, but no stage above it has text; name the text that the model was "
                "trained on as the data of its stage"
            )

    def _training_text(self, recipe: RecipeTables) -> list[str]:
        """The data that the base model was trained on, as far as it is known."""
        return [name for name in base_of(self, recipe.stages)[1].data if not isinstance(recipe.data[name], ProbeText)]

    def default_suites(self, recipe: RecipeTables) -> list[str]:
        assert self.parent is not None
        has = self.holds(recipe)
        suites = [name for name in ("questions", "benchmarks") if name in has] + ["format"]
        held_out_text = "text" in has and (base_of(self, recipe.stages)[1].held_out > 0 or bool(self.replay_data))
        suites += [*(["held_out_rows"] if "rows" in has else []), *(["forgetting"] if held_out_text else [])]
        return [*suites, "before"] if recipe.stages[self.parent].has_template() else suites

    def start(self, at: StageContext) -> Checkpoint:
        """The parent's model with the chat template's tokens, its context, and the adapter that is trained."""
        narrow = self.lora is not None and self.lora.base_dtype != "float32"
        checkpoint = load_model(at.parent_folder(self), dtype=torch.bfloat16 if narrow else None)
        if not checkpoint.model.config.causal:
            raise SettingsError(
                f"stage {at.name}: its model reads in both directions and cannot write; start from a causal model, or "
                'train a specialist: kind = "classify"'
            )
        known = checkpoint.tokenizer.vocab_size
        if not has_own_template(checkpoint.chat_config):
            checkpoint = extend_vocabulary(checkpoint, TEMPLATE_TOKENS, at.seed)
        chat_config = self.chat_config(checkpoint.chat_config)
        chat_config = trained_config(chat_config, make_renderer(checkpoint.tokenizer, chat_config))
        checkpoint = with_context(replace(checkpoint, chat_config=chat_config), self.context)
        if self.lora is None:
            return checkpoint
        if checkpoint.model.config.experts is not None:
            status(f"{at.name}: LoRA leaves routed experts and routers frozen")
        return with_lora(checkpoint, self.lora, range(known, checkpoint.tokenizer.vocab_size), at.seed)

    def chat_config(self, config: ChatConfig) -> ChatConfig:
        """The chat settings of the parent with those of the stage over them."""
        return with_chat_settings(config, self.template_settings, self.system == "fold")

    def peak_lr(self, at: StageContext, checkpoint: Checkpoint) -> float:
        """The peak learning rate, or where the range test begins."""
        factor = 1 if self.lora is None else LORA_LR_FACTOR
        base = at.base(self)[1]
        if self.lr is not None:
            return self.lr
        if base.lr is not None:
            return base.lr * FINE_TUNE_LR_SHARE * factor
        return default_lr(parameter_count(checkpoint.model.config)) * factor

    def text_context(self, name: str, context: int) -> int:
        """The longest piece of text `name` that is replayed or measured, in tokens. Documents given for an external
        checkpoint may be books, and its context may hold one: a single piece would then be more than a step."""
        return (
            min(context, MICRO_TOKENS, max(2, (self.batch_tokens or BATCH_TOKENS) // 2))
            if name in self.replay_data
            else context
        )

    def replayed(self, at: StageContext, tokenizer: Tokenizer, context: int) -> dict[str, WeightedStore]:
        """The text that is replayed, as datasets named "replay.DATA"."""
        base = at.base(self)[1]
        shares = self.replay_data or base.data
        if not self.replay:
            return {}
        stores = {
            name: at.stores(base.held_out).text(name, tokenizer, self.text_context(name, context)) for name in shares
        }
        total = sum(shares.values())
        return {
            f"replay.{name}": WeightedStore(stores[name].train, share / total * self.replay)
            for name, share in shares.items()
        }

    def base_held_out(self, at: StageContext, tokenizer: Tokenizer, context: int) -> dict[str, Store]:
        """The held-out text of the base model and of what is replayed, for the forgetting curve."""
        base = at.base(self)[1]
        stores = at.stores(base.held_out)
        return {
            name: stores.held_out_text(name, tokenizer, self.text_context(name, context))
            for name in {**base.data, **self.replay_data}
        }

    def read_prompts(self, at: StageContext) -> PromptData:
        """What one pass over the stage's conversations, or preferences, gives for its evaluations; nothing of other
        data."""
        return read_prompt_data(self, at) if self.reads in ("conversations", "preferences") else PromptData({})

    def chats_about_world(self, at: StageContext) -> bool:
        """Whether the stage's conversations are about the built-in world."""
        return chat_world(self.data, at.data) is not None

    def session(self, at: StageContext) -> EvalSession:
        base_name, base = at.base(self)
        return EvalSession(
            name=at.name,
            folders={"model": at.folder, "parent": at.parent_folder(self), "base": at.folders[base_name]},
            has=self.holds(at),
            read_prompts=partial(self.read_prompts, at),
            open_texts=partial(self._texts, at),
            world=world_of(at.data),
            known_utility=known_utility(self.data, at.data),
            chats_about_world=self.chats_about_world(at),
            indexed_people=indexed_people(self, at),
            batch_tokens=base.batch_tokens or BATCH_TOKENS,
            budget=partial(self.eval_seconds, at),
            open_rows=partial(self._held_out_rows, at),
            load_start=partial(self.start, at),
            kept=partial(kept_models, at.folder),
            open_questions=partial(questions_of, at.data),
            open_benchmarks=partial(benchmarks_of, at.data),
            open_training=partial(training_rows, self.data, at.data, at.folder.parent),
        )

    def eval_settings(self) -> list[object]:
        return [self.eval_minutes]

    def eval_seconds(self, at: StageContext) -> float | None:
        """The budget of the evaluation after training."""
        if self.eval_minutes == "auto":
            return max(EVAL_SECONDS, EVAL_SHARE * read_json(at.folder / STAGE)["seconds"])
        return None if self.eval_minutes is None else 60 * self.eval_minutes

    def holds(self, at: StageContext | RecipeTables) -> frozenset[str]:
        found = super().holds(at) | ({"chat"} if self.chats else set())
        if any(isinstance(data, QuestionData) for data in at.data.values()):
            found |= {"questions"}
        if benchmarks_of(at.data):
            found |= {"benchmarks"}
        own = [data for name in self.data if isinstance(data := at.data[name], ChatData)]
        if self.held_out or any(map(held_out_files, own)):
            found |= {"rows"}
        return found | ({"text"} if base_of(self, at.stages)[1].data or self.replay_data else set())

    def row_stores(self, at: StageContext, checkpoint: Checkpoint) -> dict[str, SplitStore]:
        """The stage's own rows, by dataset; none where a kind does not keep them in stores."""
        return {}

    def _held_out_rows(self, at: StageContext) -> dict[str, Store]:
        return {name: stores.held_out for name, stores in self.row_stores(at, self.start(at)).items()}

    def _texts(self, at: StageContext, base: Checkpoint) -> Mapping[str, Store]:
        """The held-out text of the base model and of what is replayed, in pieces that both models can read."""
        stage = at.base(self)[1]
        context = stage.context or base.model.config.context
        stores = at.stores(stage.held_out)
        return {
            name: stores.held_out_text(name, base.tokenizer, self.text_context(name, context))
            for name in {**stage.data, **self.replay_data}
        }

    def dev_eval(self, session: EvalSession, at: StageContext) -> DevEval | None:
        """Openings of held-out rows and, in the built-in world, questions about people of whom it only read."""
        world = chat_world(self.data, at.data)
        prompts = session.prompts
        return DevEval(prompts.dev_prompts, dev_questions(world) if world else (), prompts.known_words)
