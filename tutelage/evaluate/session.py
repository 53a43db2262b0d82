"""Everything that the evaluations of one model may read. Stages fill it in; a suite knows nothing of stages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from tutelage.batching.store import Store
from tutelage.evaluate.item_figures import Items
from tutelage.evaluate.questions import Question
from tutelage.model.hub import Checkpoint, load_model
from tutelage.records import Conversation, Labelled, Message
from tutelage.world.preferences import KnownUtility
from tutelage.world.society import World

# model: the one that is evaluated; parent: the one it was trained from; base: the pre-trained model below both.
ModelRole = Literal["model", "parent", "base"]

# What a suite can need, and what to do where a stage does not have it.
NEEDS = {
    "chat": "a model that answers in turns; ask it of a stage of kind 'sft'",
    "world": "the built-in world, but [data] has none of kind 'world'; leave it out",
    "rows": "held-out rows; set held_out of the stage above 0, or name a file of them as held_out of its data",
    "preferences": "a stage that learns from preferences: of kind 'reward', 'dpo' or 'kto'",
    "tasks": "a stage that samples answers to prompts: of kind 'grpo' or 'ppo'",
    "sequence_labels": "classes of texts; ask it of a stage of kind 'classify' with task = \"sequence\"",
    "token_labels": "tags of words; ask it of a stage of kind 'classify' with task = \"token\"",
    "span_labels": "answers in passages; ask it of a stage of kind 'classify' with task = \"span\"",
    "reward": "a reward model; ask it of a stage of kind 'reward'",
    "utility": "preferences of the built-in world, but [data] has none of kind 'world-preferences'; leave it out",
    "questions": "questions with answers; name a file of them as data of kind 'questions' (--eval FILE)",
    "benchmarks": "published benchmarks; name their folder as data of kind 'benchmarks'",
    "text": "the text that the model was trained on; name it as the data of its stage",
}


@dataclass(frozen=True)
class PromptData:
    """What one pass over a chat stage's data gives for its evaluations.

    sets:            prompts to answer, by the name of their set; those of "seen" were trained on.
    dev_prompts:     prompts for the evaluations during training, never reported on.
    known_words:     the words of the text that the model and its base were trained on; none where that is not known.
    trained_answers: the hash of every answer that the stage trains on.
    system:          the system message that all conversations share; "" where they share none.
    references:      the answer that the data gives to a prompt, by the prompt's messages.
    """

    sets: Mapping[str, Sequence[Conversation]]
    dev_prompts: Sequence[Conversation] = ()
    known_words: frozenset[str] = frozenset()
    trained_answers: frozenset[int] = frozenset()
    system: str = ""
    references: Mapping[tuple[Message, ...], str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TaskItem:
    """A held-out prompt with the model's greedy answer: its reward, None where a part abstained; the verifier's
    outcome, "" without one; whether the answer ended by itself."""

    id: str
    prompt: str
    answer: str
    gold: str
    reward: float | None
    outcome: str
    ended: bool


def _no_start() -> Checkpoint:
    raise AssertionError("only stages with held-out rows have one")


@dataclass(frozen=True)
class BenchmarkSource:
    """Benchmarks by name, the folder of their files, and how many items of each are asked."""

    suites: Sequence[str]
    folder: Path
    limit: int


@dataclass(eq=False)
class EvalSession:
    """A plain record. Each model is loaded once, and the data is read once, when a suite first asks for it.

    folders:           the model folder of each role.
    has:               which of NEEDS the session holds.
    read_prompts:      reads the stage's data; see PromptData.
    open_texts:        the held-out pre-training text, by name, as the base model's tokenizer cuts it.
    open_rows:         the held-out rows of the stage's own data, by name.
    load_start:        the model as training began: the parent, with the chat template's tokens.
    kept:              the models of steps that the stage keeps, in order.
    open_preferences:  the held-out preferences, by name of their data, as the model's tokenizer cuts them.
    open_questions:    the questions of the recipe's own file, with their answers.
    open_benchmarks:   the published benchmarks that the recipe names.
    open_labelled:     the held-out labelled rows of a specialist, by name of their data.
    open_training:     every text that the stage is trained on, with its place.
    items:             the figures of each preference; see `train.losses.Loss.items`.
    answer_tasks:      the held-out prompts of a stage that samples, answered by a model and rewarded.
    world:             the built-in world of the recipe, if it has one.
    known_utility:     the labeller of the recipe's preferences of the built-in world, if it has some.
    chats_about_world: whether the stage's conversations are about that world.
    indexed_people:    how many people of each half only the search over that world knows; 0 where no conversation of
                       the stage, or of those above it, calls it.
    batch_tokens:      tokens of a forward pass where a loss is measured.
    budget:            seconds that answers to prompts may take in all; None: as long as it takes.
    asked:             the prompts that are asked, once a budget has decided; see budget.py.
    """

    name: str
    folders: Mapping[str, Path]
    has: frozenset[str]
    read_prompts: Callable[[], PromptData] = lambda: PromptData({})
    open_texts: Callable[[Checkpoint], Mapping[str, Store]] = lambda base: {}
    open_rows: Callable[[], Mapping[str, Store]] = lambda: {}
    load_start: Callable[[], Checkpoint] = _no_start
    kept: Callable[[], Mapping[int, Path]] = lambda: {}
    open_preferences: Callable[[], Mapping[str, Store]] = lambda: {}
    open_questions: Callable[[], Sequence[Question]] = lambda: ()
    open_benchmarks: Callable[[], Sequence[BenchmarkSource]] = lambda: ()
    open_labelled: Callable[[], Mapping[str, Sequence[Labelled]]] = lambda: {}
    open_training: Callable[[], Iterable[tuple[str, str]]] = lambda: ()
    items: Items | None = None
    answer_tasks: Callable[[Checkpoint], Sequence[TaskItem]] = lambda checkpoint: ()
    world: World | None = None
    known_utility: KnownUtility | None = None
    chats_about_world: bool = False
    indexed_people: int = 0
    batch_tokens: int = 8192
    budget: Callable[[], float | None] = lambda: None
    asked: frozenset[tuple[Message, ...]] | None = None
    _models: dict[Path, Checkpoint] = field(default_factory=dict)

    def checkpoint(self, role: ModelRole) -> Checkpoint:
        """The model of a role; roles that are one model share it."""
        folder = self.folders[role]
        if folder not in self._models:
            self._models[folder] = load_model(folder)
        return self._models[folder]

    def release(self) -> None:
        """Forget the models, which may be large. What was read of the data stays."""
        self._models.clear()

    @cached_property
    def prompts(self) -> PromptData:
        return self.read_prompts()
