"""What a fine-tuned stage is tried on: prompts it was trained on, and others ever further from them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from tutelage.batching.sources import is_held_out
from tutelage.chat.formats import read_prompts
from tutelage.evaluate.format import words
from tutelage.records import Conversation
from tutelage.stages.data import ProbeText, Prompts, WorldChat, conversations, find_world, plain_texts
from tutelage.stages.prepare import StageContext
from tutelage.stages.settings import Sft
from tutelage.world.prompts import prompt_sets as world_prompts
from tutelage.world.society import World

PROMPTS = (
    200  # of the sets that are made or taken from rows; narrow enough an interval, and seconds rather than minutes
)
SEEN, TRIED = 40, 64
# What stands beside the sets in the results of the format suite.
FIGURES = frozenset(
    "rate low high count has_content stops keeps_its_turn verbatim real_words base_words failures samples "
    "outcomes".split()
)
WORDS_FROM = 20_000_000  # characters of text that count as having shown every word


def opening(conversation: Conversation) -> Conversation:
    """A conversation up to its first user turn."""
    first = next(i for i, m in enumerate(conversation.messages) if m.role == "user")
    return Conversation(conversation.messages[: first + 1], conversation.id)


def rows(stage: Sft, at: StageContext, held_out: bool) -> Iterator[Conversation]:
    """The conversations that a stage trains on, or those that it is kept from."""
    for name in stage.data:
        for row in conversations(name, at.data):
            if is_held_out(row, stage.held_out) == held_out:
                yield row


def talked_of(stage: Sft, at: StageContext) -> World | None:
    """The built-in world, where a stage's conversations are about it."""
    chats = (data for name in stage.data if isinstance(data := at.data[name], WorldChat))
    return next((World(find_world(data, at.data)) for data in chats), None)


def spared(stage: Sft, at: StageContext) -> Iterator[Conversation]:
    """The openings of held-out rows, without those that a row trained on has too."""
    # Their hashes, which take a hundredth of the memory.
    trained = {hash(opening(row).messages) for row in rows(stage, at, held_out=False)}
    held_out = distinct(map(opening, rows(stage, at, held_out=True)))
    return (prompt for prompt in held_out if hash(prompt.messages) not in trained)


def trial_prompts(stage: Sft, at: StageContext) -> list[Conversation]:
    """What a stage is tried on while it trains, to choose among its checkpoints: the openings of held-out rows that are
    not reported on."""
    reported = {prompt.messages for prompts in prompt_sets(stage, at).values() for prompt in prompts}
    return list(islice((prompt for prompt in spared(stage, at) if prompt.messages not in reported), TRIED))


def prompt_sets(stage: Sft, at: StageContext) -> dict[str, list[Conversation]]:
    """Named sets: `seen` in training, then those of the recipe's prompts, else of its world, else held-out rows."""
    seen = list(islice(distinct(map(opening, rows(stage, at, held_out=False))), SEEN))
    sets: dict[str, list[Conversation]] = {"seen": seen}
    files = [data for data in at.data.values() if isinstance(data, Prompts)]
    for data in files:
        for name, prompts in read_prompts(Path(data.path)).items():
            if name in FIGURES:
                raise ValueError(f"{data.path}: a set cannot be called '{name}', which is a figure's name; rename it")
            sets.setdefault(name, []).extend(prompts)
    if not files and (world := talked_of(stage, at)):
        sets |= {name: prompts for name, prompts in world_prompts(world, PROMPTS).items() if name != "seen"}
    elif not files:
        every = 2 if stage.evaluate_every else 1  # the others are what it is tried on while it trains
        own = list(islice(spared(stage, at), 0, every * PROMPTS, every))
        sets |= {"in_domain": own} if own else {}
    return sets


def distinct(prompts: Iterable[Conversation]) -> Iterator[Conversation]:
    """Each prompt once."""
    asked = set()
    for prompt in prompts:
        if prompt.messages not in asked:
            asked.add(prompt.messages)
            yield prompt


def known_words(stage: Sft, at: StageContext) -> frozenset[str]:
    """The words of the text that a stage and its base were trained on; none where that text is not known."""
    _, base = at.ancestor(stage)
    known: set[str] = set()
    read = 0
    for name in (name for name in base.data if not isinstance(at.data[name], ProbeText)):
        for text in plain_texts(name, at.data):
            known.update(words(text))
            read += len(text)
            if read > WORDS_FROM:
                break
    if known:
        for row in rows(stage, at, held_out=False):
            for message in row.messages:
                known.update(words(message.text))
    return frozenset(known)


def trained_answers(stage: Sft, at: StageContext) -> frozenset[int]:
    """The hash of every answer that a stage is trained to give."""
    return frozenset(
        hash(message.text.strip())
        for row in rows(stage, at, held_out=False)
        for message in row.messages
        if message.role == "assistant" and message.text.strip()
    )
