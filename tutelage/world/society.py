"""The world: a small society, made from a seed, in which every fact is known.

It tells of its people in documents, talks about half of them in conversations, asks about all of them in questions, and
can search itself. Everything is made on demand from the seed, so a world may be of any size.
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
from tutelage.world.asking import ask_cloze, ask_follow_up, ask_one_step, ask_reverse, ask_two_step, ask_unknown
from tutelage.world.biographies import biography
from tutelage.world.draws import Draws
from tutelage.world.entities import KINDS, Entity, entity_page, make_entities
from tutelage.world.everyday import SYSTEM_MESSAGES, everyday_turns
from tutelage.world.grading import Question
from tutelage.world.names import COUNT, rounds
from tutelage.world.people import Person, make_person, split_of
from tutelage.world.prose import scene
from tutelage.world.search import SearchIndex, build_index, fact_table, ranked
from tutelage.world.values import ATTRIBUTES, BRIDGES, Attribute

T = TypeVar("T", Document, Conversation)

PAIRS = tuple(combinations(ATTRIBUTES, 2))
PAIRS_TRIED = 6  # how often a pair that describes one person only is looked for before a third attribute is added


class WorldSettings(Settings, frozen=True, kw_only=True):
    """What a world is made from. The same settings give the same text, byte for byte.

    people:     how many there are, from 20 to 1,000,000; a half of them is talked about in training.
    versions:   in how many wordings and orders each biography and each page is told.
    full_names: the share of a biography's facts that stand in a sentence naming the person in full.
    wordings:   how often each fact of a person is asked for in the conversations, drawn from 10 wordings.
    unknown:    the share of conversations about names that do not exist.
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
    """The `length` items of `main`, with `count` items of each extra spread evenly among them."""
    made = [0] * len(extras)
    for seen, item in enumerate(main, 1):
        yield item
        for place, (count, make) in enumerate(extras):
            while made[place] < seen * count // length:
                yield make(made[place])
                made[place] += 1


class World:
    """A society of `settings.people` people; see the module."""

    def __init__(self, settings: WorldSettings) -> None:
        self.settings = settings
        self.entities: list[Entity] = make_entities(settings.seed)
        self._keys = rounds(settings.seed)
        self._linked = {  # (two-step fact, name of the entity) -> value
            (fact, entity.name): entity.facts[fact] for entity in self.entities for fact in (KINDS[entity.kind][1],)
        }

    def person(self, index: int) -> Person:
        """Person `index` of the world; IndexError past the last. Takes the same short time for any index."""
        if not 0 <= index < self.settings.people:
            raise IndexError(f"person {index} of a world with {self.settings.people} people")
        return make_person(self.settings.seed, index, self._keys)

    def people(self, split: Split) -> Iterator[Person]:
        """The people of one half."""
        if split not in get_args(Split):
            raise ValueError(f'the split of a world is "train" or "held_out", not "{split}"')
        seed, people = self.settings.seed, self.settings.people
        return (self.person(index) for index in range(people) if split_of(seed, index) == split)

    def documents(self) -> Iterator[Document]:
        """What a base model reads: biographies of all people, pages about all entities, worked sums and everyday prose.

        Every version of all people comes before the next version of anybody.
        """
        for version in range(self.settings.versions):
            yield from self._told(version)

    def _told(self, version: int) -> Iterator[Document]:
        settings = self.settings
        told = settings.people + len(self.entities)
        rest = 1 - settings.arithmetic - settings.everyday
        sums, scenes = (round(share / rest * told) for share in (settings.arithmetic, settings.everyday))
        pages = Draws(settings.seed, "pages", version).shuffled(self.entities)
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
        return Document(note(Draws(self.settings.seed, "note", number)), f"sum/{number}", {"kind": "arithmetic"})

    def _scene(self, number: int) -> Document:
        return Document(scene(Draws(self.settings.seed, "scene", number)), f"scene/{number}", {"kind": "everyday"})

    def conversations(self, split: Split) -> Iterator[Conversation]:
        """Chat data about the people of one half: questions of every kind, sums, everyday turns and unknown names.

        `meta` holds the kind of the conversation and, of questions, the attribute, subject and answer of the last one.
        Everyday turns are the same in both halves.
        """
        settings = self.settings
        tasks = settings.wordings * (len(ATTRIBUTES) + 1) + len(BRIDGES)  # what is asked about each person
        length = tasks * sum(1 for _ in self.people(split))
        asked = (self._conversation(person, lap, split) for lap in range(tasks) for person in self.people(split))
        rest = 1 - settings.unknown - settings.arithmetic - settings.everyday
        unknown, sums, everyday = (
            round(share / rest * length) for share in (settings.unknown, settings.arithmetic, settings.everyday)
        )
        return interleaved(
            asked,
            length,
            (
                (unknown, lambda i: self._unknown_name(i, split)),
                (sums, lambda i: self._sum(i, split)),
                (everyday, lambda i: self._everyday(i, split)),
            ),
        )

    def _conversation(self, person: Person, lap: int, split: Split) -> Conversation:
        """What is asked of a person in one lap over all people; now and then one question follows upon another."""
        seed = self.settings.seed
        wordings = range(self.settings.wordings)
        tasks: list[tuple[str, str]] = [("one-step", attribute) for attribute in ATTRIBUTES for _ in wordings]
        tasks += [("reverse", "name") for _ in wordings] + [("two-step", fact) for fact in BRIDGES]
        kind, attribute = Draws(seed, "tasks", person.index).shuffled(tasks)[lap]
        draws = Draws(seed, "conversation", person.index, lap)
        question, reply = self._ask(person, kind, attribute, draws)
        turns = [question.prompt, reply]
        if kind == "one-step" and draws.below(8) == 0:
            other = draws.pick([name for name in ATTRIBUTES if name != attribute])
            question, reply = ask_follow_up(person, other, draws)
            turns += [question.prompt, reply]
        system = draws.pick(SYSTEM_MESSAGES) if draws.below(12) == 0 else ""
        return told_in_turns(f"{split}/{person.index}/{lap}", system, turns, about(question))

    def _unknown_name(self, number: int, split: Split) -> Conversation:
        draws = Draws(self.settings.seed, "unknown", split, number)
        nobody = self._nobody(number, get_args(Split).index(split))
        question, reply = ask_unknown(nobody, draws.pick(ATTRIBUTES), draws)
        system = draws.pick(SYSTEM_MESSAGES) if draws.below(12) == 0 else ""
        return told_in_turns(f"{split}/unknown/{number}", system, (question.prompt, reply), about(question))

    def _sum(self, number: int, split: Split) -> Conversation:
        turns = exchange(Draws(self.settings.seed, "sum", split, number))
        return told_in_turns(f"{split}/sum/{number}", "", turns, {"kind": "arithmetic"})

    def _everyday(self, number: int, split: Split) -> Conversation:
        system, turns = everyday_turns(number, self.settings.seed)
        return told_in_turns(f"{split}/everyday/{number}", system, turns, {"kind": "everyday"})

    def _nobody(self, number: int, share: int) -> Person:
        """Somebody who does not exist. The shares 0, 1 and 2 of these names have none in common."""
        free = (COUNT - self.settings.people) // 3
        return make_person(self.settings.seed, self.settings.people + 3 * (number % free) + share, self._keys)

    def questions(self, split: Split, facts: int = 1) -> Iterator[Question]:
        """Questions to evaluate with, in the wordings that are trained: for each person up to `facts` one-step
        questions (there are seven) and two-step questions (there are four), and one reverse question."""
        return (question for person in self.people(split) for question in self._asked(person, facts))

    def _asked(self, person: Person, facts: int) -> Iterator[Question]:
        draws = Draws(self.settings.seed, "evaluation", person.index)
        for attribute in self._evaluated(person)[:facts]:
            yield self._ask(person, "one-step", attribute, draws)[0]
        yield self._ask(person, "reverse", "name", draws)[0]
        for fact in draws.shuffled(tuple(BRIDGES))[:facts]:
            yield self._ask(person, "two-step", fact, draws)[0]

    def _evaluated(self, person: Person) -> list[Attribute]:
        """The attributes in the order in which evaluation asks for them, the same for questions and cloze."""
        return Draws(self.settings.seed, "evaluated", person.index).shuffled(ATTRIBUTES)

    def cloze(self, split: Split, facts: int = 1) -> Iterator[Question]:
        """The facts of the one-step `questions` as unfinished sentences of a biography, for a base model to finish."""
        return (
            ask_cloze(person, attribute, Draws(self.settings.seed, "cloze", person.index, attribute))
            for person in self.people(split)
            for attribute in self._evaluated(person)[:facts]
        )

    def unknown(self, count: int) -> Iterator[Question]:
        """One-step questions about `count` different names that do not exist and are in no conversation either."""
        most = (COUNT - self.settings.people) // 3
        if count > most:
            raise ValueError(f"there are only {most:,} names left to ask for that do not exist, not {count:,}")
        keyed = ((number, Draws(self.settings.seed, "unknown", number)) for number in range(count))
        return (ask_unknown(self._nobody(number, 2), draws.pick(ATTRIBUTES), draws)[0] for number, draws in keyed)

    def search(self, query: str, limit: int = 3) -> list[Document]:
        """The best biographies and pages for a query: those it names in full, then those with most words in common."""
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
        return build_index(self._facts, self.entities, self._keys)

    def _ask(self, person: Person, kind: str, attribute: str, draws: Draws) -> tuple[Question, str]:
        if kind == "reverse":
            attributes, fitting = self._description(person, draws)
            return ask_reverse(person, attributes, fitting, draws)
        if kind == "two-step":
            bridge = person.facts[BRIDGES[attribute]]
            return ask_two_step(person, attribute, self._linked[attribute, bridge], draws)
        return ask_one_step(person, attribute, draws)  # type: ignore[arg-type]

    def _description(self, person: Person, draws: Draws) -> tuple[tuple[Attribute, ...], tuple[str, ...]]:
        """Two attributes that only this person combines, or more where two do not suffice; the names of all who fit."""
        for pair in draws.shuffled(PAIRS)[:PAIRS_TRIED]:
            fitting = self._people_like(person, pair)
            if len(fitting) == 1:
                return pair, (person.name,)
        attributes: tuple[Attribute, ...] = pair
        for attribute in draws.shuffled([name for name in ATTRIBUTES if name not in pair]):
            attributes = (*attributes, attribute)
            fitting = self._people_like(person, attributes)
            if len(fitting) == 1:
                break
        return attributes, tuple(self.person(index).name for index in fitting)

    def _people_like(self, person: Person, attributes: Sequence[Attribute]) -> list[int]:
        """The indices of all people who share these attributes with the person."""
        places = [ATTRIBUTES.index(attribute) for attribute in attributes]
        same = self._columns[places[0]] == self._facts[person.index, places[0]]
        for place in places[1:]:
            same &= self._columns[place] == self._facts[person.index, place]
        return np.flatnonzero(same).tolist()

    @cached_property
    def _columns(self) -> np.ndarray:
        return np.ascontiguousarray(self._facts.T)


def about(question: Question) -> dict[str, str]:
    """What a conversation remembers of a question."""
    return {
        "kind": question.kind,
        "attribute": question.attribute,
        "subject": question.subject,
        "answer": question.answer,
    }


def told_in_turns(id_: str, system: str, turns: Sequence[str], meta: dict[str, str]) -> Conversation:
    """A conversation of user and assistant in turn, after a system message unless that is empty."""
    messages = [message("system", system)] if system else []
    messages += [message("assistant" if place % 2 else "user", text) for place, text in enumerate(turns)]
    return Conversation(tuple(messages), id_, meta)
