"""The world: a small synthetic society with known facts, generated from a seed.

It has documents about all people, conversations about half of them, evaluation questions about all, and a search.
Everything is generated on demand, so a world may have any size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import combinations
from typing import TypeVar, get_args

import numpy as np

from tutelage.config import Settings
from tutelage.records import Conversation, Document, Split, message
from tutelage.world.arithmetic import exchange, note
from tutelage.world.biographies import biography
from tutelage.world.entities import KINDS, Entity, entity_page, make_entities
from tutelage.world.everyday import SYSTEM_MESSAGES, everyday_turns
from tutelage.world.grading import Question
from tutelage.world.keyed_random import KeyedRandom
from tutelage.world.names import COUNT, rounds
from tutelage.world.people import Person, make_person, split_of
from tutelage.world.person_questions import (
    ask_cloze,
    ask_follow_up,
    ask_one_step,
    ask_reverse,
    ask_two_step,
    ask_unknown,
)
from tutelage.world.prose import scene
from tutelage.world.search import SearchIndex, build_index, fact_table, ranked
from tutelage.world.values import ATTRIBUTES, BRIDGES, Attribute

T = TypeVar("T", Document, Conversation)

PAIRS = tuple(combinations(ATTRIBUTES, 2))
PAIRS_TRIED = 6  # attempts to find a pair that describes one person only, before a third attribute is added


class WorldSettings(Settings, frozen=True, kw_only=True):
    """Settings of a world. The same settings give the same text, byte for byte.

    people:     how many, from 20 to 1,000,000; training conversations are about half of them.
    versions:   of each biography and each page, which differ in wording and order.
    full_names: the share of a biography's facts whose sentence has the full name.
    wordings:   how often the conversations ask for each fact of a person, in wordings drawn from 10.
    unknown:    the share of conversations about nonexistent names.
    arithmetic: the share of worked sums, among documents and among conversations.
    everyday:   the share of everyday prose among documents, and of everyday turns among conversations.
    """

    people: int = 200
    versions: int = 5
    seed: int = 0
    full_names: float = 0.6
    wordings: int = 2
    unknown: float = 0.05
    arithmetic: float = 0.1
    everyday: float = 0.1

    def __post_init__(self) -> None:
        if not 20 <= self.people <= 1_000_000:
            raise ValueError(f"a world has from 20 to 1,000,000 people, not {self.people:,}")
        for name in ("versions", "wordings"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} of a world must be 1 or more, not {getattr(self, name)}")
        for name in ("full_names", "unknown", "arithmetic", "everyday"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} of a world is a share from 0 to 1, not {getattr(self, name)}")
        if self.unknown + self.arithmetic + self.everyday > 0.9:
            raise ValueError(
                "unknown, arithmetic and everyday of a world leave less than a tenth for its people: lower them"
            )


def interleaved(main: Iterator[T], length: int, extras: Sequence[tuple[int, Callable[[int], T]]]) -> Iterator[T]:
    """The `length` items of `main`, with the `count` items of each extra evenly spread among them."""
    counts = [0] * len(extras)
    for seen, item in enumerate(main, 1):
        yield item
        for place, (count, make) in enumerate(extras):
            while counts[place] < seen * count // length:
                yield make(counts[place])
                counts[place] += 1


class World:
    """A society of `settings.people` people; see the module docstring. `keys` are the `rounds` of its names."""

    def __init__(self, settings: WorldSettings) -> None:
        self.settings = settings
        self.entities: list[Entity] = make_entities(settings.seed)
        self.keys = rounds(settings.seed)
        self._linked = {  # (two-step fact, name of the entity) -> value
            (fact, entity.name): entity.facts[fact] for entity in self.entities for fact in (KINDS[entity.kind][1],)
        }

    def person(self, index: int) -> Person:
        """Person `index` of the world; IndexError past the last. Takes constant time."""
        if not 0 <= index < self.settings.people:
            raise IndexError(f"person {index} of a world with {self.settings.people} people")
        return make_person(self.settings.seed, index, self.keys)

    def people(self, split: Split) -> Iterator[Person]:
        """The people of one split."""
        if split not in get_args(Split):
            raise ValueError(f'the split of a world is "train" or "held_out", not "{split}"')
        seed, people = self.settings.seed, self.settings.people
        return (self.person(index) for index in range(people) if split_of(seed, index) == split)

    def documents(self) -> Iterator[Document]:
        """Pre-training documents: biographies of all people, pages about all entities, worked sums and everyday prose.

        A version of all people comes before the next version of any of them.
        """
        for version in range(self.settings.versions):
            yield from self._version(version)

    def _version(self, version: int) -> Iterator[Document]:
        settings = self.settings
        pages_count = settings.people + len(self.entities)
        rest = 1 - settings.arithmetic - settings.everyday
        sums, scenes = (round(share / rest * pages_count) for share in (settings.arithmetic, settings.everyday))
        pages = KeyedRandom(settings.seed, "pages", version).shuffled(self.entities)
        return interleaved(
            (self._biography(self.person(index), version) for index in range(settings.people)),
            settings.people,
            (
                (len(pages), lambda i: self._page(pages[i], version)),
                (sums, lambda i: self._note(version * sums + i)),
                (scenes, lambda i: self._scene(version * scenes + i)),
            ),
        )

    def _biography(self, person: Person, version: int) -> Document:
        text = biography(person, version, self.settings.seed, self.settings.full_names)
        return Document(text, f"person/{person.index}/{version}", {"kind": "biography", "subject": person.name})

    def _page(self, entity: Entity, version: int) -> Document:
        text = entity_page(entity, version, self.settings.seed)
        return Document(text, f"{entity.kind}/{entity.name}/{version}", {"kind": entity.kind, "subject": entity.name})

    def _note(self, number: int) -> Document:
        return Document(note(KeyedRandom(self.settings.seed, "note", number)), f"sum/{number}", {"kind": "arithmetic"})

    def _scene(self, number: int) -> Document:
        return Document(
            scene(KeyedRandom(self.settings.seed, "scene", number)), f"scene/{number}", {"kind": "everyday"}
        )

    def conversations(self, split: Split) -> Iterator[Conversation]:
        """Chat data about the people of one split: questions of every kind, sums, everyday turns and unknown names.

        `meta` has the kind of the conversation and, for questions, attribute, subject and answer of the last one.
        Everyday turns are the same in both splits.
        """
        settings = self.settings
        tasks = settings.wordings * (len(ATTRIBUTES) + 1) + len(BRIDGES)  # conversations about each person
        length = tasks * sum(1 for _ in self.people(split))
        main = (self._conversation(person, task, split) for task in range(tasks) for person in self.people(split))
        rest = 1 - settings.unknown - settings.arithmetic - settings.everyday
        unknown, sums, everyday = (
            round(share / rest * length) for share in (settings.unknown, settings.arithmetic, settings.everyday)
        )
        return interleaved(
            main,
            length,
            (
                (unknown, lambda i: self._unknown_name(i, split)),
                (sums, lambda i: self._sum(i, split)),
                (everyday, lambda i: self._everyday(i, split)),
            ),
        )

    def _conversation(self, person: Person, task: int, split: Split) -> Conversation:
        """The conversation of one of a person's tasks; some have a follow-up question."""
        seed = self.settings.seed
        wordings = range(self.settings.wordings)
        tasks: list[tuple[str, str]] = [("one-step", attribute) for attribute in ATTRIBUTES for _ in wordings]
        tasks += [("reverse", "name") for _ in wordings] + [("two-step", fact) for fact in BRIDGES]
        kind, attribute = KeyedRandom(seed, "tasks", person.index).shuffled(tasks)[task]
        rng = KeyedRandom(seed, "conversation", person.index, task)
        question, reply = self._ask(person, kind, attribute, rng)
        turns = [question.prompt, reply]
        if kind == "one-step" and rng.randbelow(8) == 0:
            other = rng.choice([name for name in ATTRIBUTES if name != attribute])
            question, reply = ask_follow_up(person, other, rng)
            turns += [question.prompt, reply]
        system = rng.choice(SYSTEM_MESSAGES) if rng.randbelow(12) == 0 else ""
        return conversation_of_turns(f"{split}/{person.index}/{task}", system, turns, question_meta(question))

    def _unknown_name(self, number: int, split: Split) -> Conversation:
        rng = KeyedRandom(self.settings.seed, "unknown", split, number)
        nobody = self.nobody(number, split)
        question, reply = ask_unknown(nobody, rng.choice(ATTRIBUTES), rng)
        system = rng.choice(SYSTEM_MESSAGES) if rng.randbelow(12) == 0 else ""
        return conversation_of_turns(
            f"{split}/unknown/{number}", system, (question.prompt, reply), question_meta(question)
        )

    def _sum(self, number: int, split: Split) -> Conversation:
        turns = exchange(KeyedRandom(self.settings.seed, "sum", split, number))
        return conversation_of_turns(f"{split}/sum/{number}", "", turns, {"kind": "arithmetic"})

    def _everyday(self, number: int, split: Split) -> Conversation:
        system, turns = everyday_turns(number, self.settings.seed)
        return conversation_of_turns(f"{split}/everyday/{number}", system, turns, {"kind": "everyday"})

    def nobody(self, number: int, split: Split) -> Person:
        """A nonexistent person; `unknown` has none of them."""
        return self._nobody(number, get_args(Split).index(split))

    def linked(self, fact: str, name: str) -> str:
        """The value of a two-step fact of the entity with this name."""
        return self._linked[fact, name]

    def _nobody(self, number: int, share: int) -> Person:
        """A nonexistent person. The shares 0, 1 and 2 of these names are disjoint."""
        free = (COUNT - self.settings.people) // 3
        return make_person(self.settings.seed, self.settings.people + 3 * (number % free) + share, self.keys)

    def questions(self, split: Split, facts: int = 1) -> Iterator[Question]:
        """Evaluation questions, in the wordings of the training data: for each person up to `facts` one-step questions
        (there are seven) and two-step questions (there are four), and one reverse question."""
        return (question for person in self.people(split) for question in self._person_questions(person, facts))

    def _person_questions(self, person: Person, facts: int) -> Iterator[Question]:
        rng = KeyedRandom(self.settings.seed, "evaluation", person.index)
        for attribute in self._evaluated(person)[:facts]:
            yield self._ask(person, "one-step", attribute, rng)[0]
        yield self._ask(person, "reverse", "name", rng)[0]
        for fact in rng.shuffled(tuple(BRIDGES))[:facts]:
            yield self._ask(person, "two-step", fact, rng)[0]

    def _evaluated(self, person: Person) -> list[Attribute]:
        """The attributes in the order of evaluation, the same for questions and cloze."""
        return KeyedRandom(self.settings.seed, "evaluated", person.index).shuffled(ATTRIBUTES)

    def cloze(self, split: Split, facts: int = 1) -> Iterator[Question]:
        """The facts of the one-step `questions` as sentences to complete, for a base model."""
        return (
            ask_cloze(person, attribute, KeyedRandom(self.settings.seed, "cloze", person.index, attribute))
            for person in self.people(split)
            for attribute in self._evaluated(person)[:facts]
        )

    def unknown(self, count: int) -> Iterator[Question]:
        """One-step questions about `count` different nonexistent names that are in no conversation."""
        available = (COUNT - self.settings.people) // 3
        if count > available:
            raise ValueError(f"a world of this size has only {available:,} nonexistent names, not {count:,}")
        keyed = ((number, KeyedRandom(self.settings.seed, "unknown", number)) for number in range(count))
        return (ask_unknown(self._nobody(number, 2), rng.choice(ATTRIBUTES), rng)[0] for number, rng in keyed)

    def search(self, query: str, limit: int = 3) -> list[Document]:
        """The best biographies and pages for a query: exact names first, then those with the most common words."""
        if limit < 1:
            raise ValueError(f"the limit of a search must be 1 or more, not {limit}")
        people = self.settings.people
        return [
            self._biography(self.person(place), 0) if place < people else self._page(self.entities[place - people], 0)
            for place in ranked(self._index, query, limit)
        ]

    @cached_property
    def _facts(self) -> np.ndarray:
        return fact_table(self.settings.seed, self.settings.people)

    @cached_property
    def _index(self) -> SearchIndex:
        return build_index(self._facts, self.entities, self.keys)

    def _ask(self, person: Person, kind: str, attribute: str, rng: KeyedRandom) -> tuple[Question, str]:
        if kind == "reverse":
            attributes, matching = self._description(person, rng)
            return ask_reverse(person, attributes, matching, rng)
        if kind == "two-step":
            bridge = person.facts[BRIDGES[attribute]]
            return ask_two_step(person, attribute, self.linked(attribute, bridge), rng)
        return ask_one_step(person, attribute, rng)  # type: ignore[arg-type]

    def _description(self, person: Person, rng: KeyedRandom) -> tuple[tuple[Attribute, ...], tuple[str, ...]]:
        """Two attributes that only this person combines, or more if two are not enough; the names of all who match."""
        for pair in rng.shuffled(PAIRS)[:PAIRS_TRIED]:
            matching = self._people_like(person, pair)
            if len(matching) == 1:
                return pair, (person.name,)
        attributes: tuple[Attribute, ...] = pair
        for attribute in rng.shuffled([name for name in ATTRIBUTES if name not in pair]):
            attributes = (*attributes, attribute)
            matching = self._people_like(person, attributes)
            if len(matching) == 1:
                break
        return attributes, tuple(self.person(index).name for index in matching)

    def _people_like(self, person: Person, attributes: Sequence[Attribute]) -> list[int]:
        """The indices of all people with the person's values of these attributes."""
        places = [ATTRIBUTES.index(attribute) for attribute in attributes]
        same = self._columns[places[0]] == self._facts[person.index, places[0]]
        for place in places[1:]:
            same &= self._columns[place] == self._facts[person.index, place]
        return np.flatnonzero(same).tolist()

    @cached_property
    def _columns(self) -> np.ndarray:
        return np.ascontiguousarray(self._facts.T)


def question_meta(question: Question) -> dict[str, str]:
    """The metadata of a conversation with this question."""
    return {
        "kind": question.kind,
        "attribute": question.attribute,
        "subject": question.subject,
        "answer": question.answer,
    }


def conversation_of_turns(id_: str, system: str, turns: Sequence[str], meta: dict[str, str]) -> Conversation:
    """A conversation of user and assistant in turn, after a system message unless that is empty."""
    messages = [message("system", system)] if system else []
    messages += [message("assistant" if place % 2 else "user", text) for place, text in enumerate(turns)]
    return Conversation(tuple(messages), id_, meta)
