"""What a chat stage is evaluated on: prompts it was trained on, and others ever further from them. One pass over the
data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path

from tutelage.batching.datasets import split_of
from tutelage.chat.formats import read_prompts
from tutelage.evaluate.session import PromptData
from tutelage.evaluate.suites.format import words
from tutelage.records import Conversation, Message
from tutelage.stages.base import Stage, StageContext
from tutelage.stages.data import DataTable, conversations, plain_texts
from tutelage.stages.data_files import ProbeText, Prompts
from tutelage.stages.data_world import WorldAgents, WorldAgentTasks, WorldChat, WorldTools, find_world
from tutelage.stages.train_stage import TrainStage
from tutelage.world.prompts import prompt_sets as world_prompts
from tutelage.world.society import World

# Of the sets that are made or taken from rows; narrow enough an interval, and seconds rather than minutes.
PROMPTS = 200
SEEN, DEV_PROMPTS = 40, 64
# Openings of held-out rows that are remembered, so that memory does not grow with the data. Twice what the sets take
# would do, were it not for those that trained rows open with too.
CANDIDATES = 20 * PROMPTS
WORDS_FROM = 20_000_000  # characters of text that count as having shown every word


def opening(conversation: Conversation) -> Conversation:
    """A conversation up to its first user turn."""
    first = next(i for i, message in enumerate(conversation.messages) if message.role == "user")
    return Conversation(conversation.messages[: first + 1], conversation.id)


def first_answer(conversation: Conversation) -> str:
    """The assistant's answer to the first user turn; "" where there is none."""
    turns = conversation.messages[len(opening(conversation).messages) :]
    return next((message.text.strip() for message in turns if message.role == "assistant"), "")


def chat_world(names: Iterable[str], table: DataTable) -> World | None:
    """The built-in world, where some of the data are conversations about it."""
    chats = (data for name in names if isinstance(data := table[name], WorldChat))
    return next((World(find_world(data, table)) for data in chats), None)


def indexed_people(stage: Stage, at: StageContext) -> int:
    """How many people only the search knows that a stage's conversations, or those of a stage above, call; else 0."""
    while True:
        for name in stage.data:
            if isinstance(data := at.data[name], WorldTools | WorldAgents | WorldAgentTasks):
                return data.indexed
        if stage.parent is None:
            return 0
        stage = at.stages[stage.parent]


def read_prompt_data(stage: TrainStage, at: StageContext) -> PromptData:
    """Sets of prompts: "seen" in training, then those of the recipe's prompt files, else of its world, else openings of
    held-out rows that no trained row shares; and what is known about the training text."""
    seen: dict[tuple[object, ...], Conversation] = {}
    candidates: dict[tuple[object, ...], Conversation] = {}
    trained: set[int] = set()  # hashes of openings, which take a hundredth of their memory
    answers: set[int] = set()
    known = _words_of_base(stage, at)
    wants_words = bool(known)
    systems: set[str] = set()
    references: dict[tuple[Message, ...], str] = {}
    for row in rows(stage, at):
        prompt = opening(row)
        if split_of(row, stage.held_out) == "held_out":
            if len(candidates) < CANDIDATES:
                candidates.setdefault(prompt.messages, prompt)
                references.setdefault(prompt.messages, first_answer(row))
            continue
        if len(systems) < 2:
            systems.add(prompt.messages[0].text if prompt.messages[0].role == "system" else "")
        trained.add(hash(prompt.messages))
        if len(seen) < SEEN:
            seen.setdefault(prompt.messages, prompt)
            references.setdefault(prompt.messages, first_answer(row))
        for message in row.messages:
            text = message.text
            if message.role == "assistant" and text.strip():
                answers.add(hash(text.strip()))
            if wants_words:
                known.update(words(text))
    unseen = [prompt for prompt in candidates.values() if hash(prompt.messages) not in trained]
    others = _other_sets(stage, at, unseen)
    sets = {"seen": [*seen.values(), *others.get("seen", ())]} | {n: s for n, s in others.items() if n != "seen"}
    reported = {prompt.messages for prompts in sets.values() for prompt in prompts}
    dev_prompts = [prompt for prompt in unseen if prompt.messages not in reported][:DEV_PROMPTS]
    system = systems.pop() if len(systems) == 1 else ""
    return PromptData(sets, dev_prompts, frozenset(known), frozenset(answers), system, references)


def rows(stage: TrainStage, at: StageContext) -> Iterator[Conversation]:
    """The conversations that a stage trains on, and those that it holds out."""
    for name in stage.data:
        yield from conversations(name, at.data)


def _other_sets(stage: TrainStage, at: StageContext, unseen: list[Conversation]) -> Mapping[str, list[Conversation]]:
    sets: dict[str, list[Conversation]] = {}
    sampled = {name for other in at.stages.values() for name in other.data}
    files = [data for name, data in at.data.items() if isinstance(data, Prompts) and name not in sampled]
    for data in files:
        for name, prompts in read_prompts(Path(data.path)).items():
            sets.setdefault(name, []).extend(prompts)
    if files:
        return sets
    if world := chat_world(stage.data, at.data):
        return {name: prompts for name, prompts in world_prompts(world, PROMPTS).items() if name != "seen"}
    every = 2 if stage.evaluate_every else 1  # the others are for the evaluations during training
    own = list(islice(unseen, 0, every * PROMPTS, every))
    return {"in_domain": own} if own else {}


def _words_of_base(stage: TrainStage, at: StageContext) -> set[str]:
    """The words of the text that the base model was trained on; none where that text is not known."""
    known: set[str] = set()
    read = 0
    for name in (name for name in at.base(stage)[1].data if not isinstance(at.data[name], ProbeText)):
        for text in plain_texts(name, at.data):
            known.update(words(text))
            read += len(text)
            if read > WORDS_FROM:
                break
    return known
