"""Rows and questions about the people of the demo's world, for findings that need other data than its conversations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import cycle, islice

from tutelage.records import Split
from tutelage.world import World
from tutelage.world.keyed_random import KeyedRandom
from tutelage.world.people import Person, Voice, words
from tutelage.world.person_questions import ask_one_step
from tutelage.world.society import WorldSettings
from tutelage.world.values import ATTRIBUTES, Attribute
from tutelage.world.wordings import ANSWERS, ONE_STEP

Row = Mapping[str, object]
Rows = Callable[[], Iterator[Row]]
SETTINGS = WorldSettings(people=200, versions=20, wordings=6, unknown=0.0)  # as in base_recipe.DEMO


@cache
def demo_world() -> World:
    """The world of the demo."""
    return World(SETTINGS)


def one_step_rows(attributes: Sequence[Attribute], count: int) -> Rows:
    """`count` rows about trained people: each asks for one of the attributes, in turn, in a wording drawn at random."""

    def make() -> Iterator[Row]:
        people = cycle(demo_world().people("train"))
        for number, person in enumerate(islice(people, count)):
            # The attribute changes with every round of the people too, so that each is asked for all of them.
            attribute = attributes[(number + number // 100) % len(attributes)]
            rng = KeyedRandom("lab row", attribute, person.index, number)
            question, reply = ask_one_step(person, attribute, rng)
            yield {"prompt": question.prompt, "completion": reply}

    return make


def one_step_questions(attributes: Sequence[Attribute], split: Split, each: int = 1) -> Rows:
    """Questions for these attributes of everybody in a split, each in `each` wordings, right if the value is named."""

    def make() -> Iterator[Row]:
        for person in demo_world().people(split):
            for attribute in attributes:
                for number in range(each):
                    question = ask_one_step(
                        person, attribute, KeyedRandom("lab", split, person.index, attribute, number)
                    )[0]
                    yield {
                        "id": f"{question.id}/{number}", "question": question.prompt, "answer": question.answer,
                        "set": attribute,
                    }  # fmt: skip

    return make


def sized_rows(facts: int, count: int) -> Rows:
    """`count` rows about trained people, in full sentences: the fact that is asked for and `facts` - 1 others, or with
    0 its value alone."""

    def make() -> Iterator[Row]:
        for number, person in enumerate(islice(cycle(demo_world().people("train")), count)):
            rng = KeyedRandom("lab size", person.index, number)
            attributes = rng.shuffled(ATTRIBUTES)
            prompt = rng.choice(ONE_STEP[attributes[0]]).format(name=person.name)
            yield {"prompt": prompt, "completion": _answer(person, attributes, facts, rng)}

    return make


def _answer(person: Person, attributes: Sequence[Attribute], facts: int, rng: KeyedRandom) -> str:
    if not facts:
        return person.facts[attributes[0]]
    voices: list[Voice] = ["full", *["pronoun"] * (facts - 1)]  # type: ignore[list-item]
    return " ".join(
        rng.choice(ANSWERS[attribute]).format_map(words(person, voice))
        for attribute, voice in zip(attributes[:facts], voices, strict=True)
    )
