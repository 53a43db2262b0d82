"""What the world's oracle replies to a question of each purpose, in the form that its method asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tutelage.scoring.extract import normalise
from tutelage.world import World
from tutelage.world.biographies import biography
from tutelage.world.keyed_random import KeyedRandom
from tutelage.world.people import Person, words
from tutelage.world.search import people_named
from tutelage.world.values import ATTRIBUTES, Attribute
from tutelage.world.wordings import ANSWERS, BRIEF, ONE_STEP, UNKNOWN_ANSWERS

Writer = Callable[[World, str, Any, KeyedRandom], str]  # from the question's text, its material, and a source of chance


def answer(world: World, text: str, about: Any, rng: KeyedRandom) -> str:
    """The answer to a question about a person; that it does not know, about anything else."""
    person = person_in(world, text)
    attribute = asked_attribute(text, person) if person else None
    if person is None or attribute is None:
        return rng.choice(UNKNOWN_ANSWERS).format(name="that")
    return rng.choice(ANSWERS[attribute]).format_map(words(person, "full"))


def person_in(world: World, text: str) -> Person | None:
    """The first person of the world whose full name is in a text."""
    plain = normalise(text.replace("'s", ""))
    found = [index for index in people_named(plain.split(), world.keys) if index < world.settings.people]
    return world.person(found[0]) if found else None


def asked_attribute(text: str, person: Person) -> Attribute | None:
    """Which attribute a question in one of the world's wordings asks for."""
    for attribute in ATTRIBUTES:
        if any(wording.format(name=person.name) in text for wording in (*ONE_STEP[attribute], *BRIEF[attribute])):
            return attribute
    return None


def retold(world: World, text: str, about: Any, rng: KeyedRandom) -> str:
    """A passage in other words: another version of a person's page, or the same sentences in another order."""
    passage = about["text"] if isinstance(about, Mapping) else str(about)
    person = person_in(world, passage)
    if person is not None:
        return biography(person, 100 + rng.randbelow(10_000), world.settings.seed, world.settings.full_names)
    return " ".join(rng.shuffled(passage.replace(". ", ".\0").split("\0")))


def any_person(world: World, rng: KeyedRandom) -> Person:
    """A random person."""
    return world.person(rng.randbelow(world.settings.people))


def any_question(world: World, rng: KeyedRandom) -> tuple[str, str]:
    """A random question with its answer."""
    person, attribute = any_person(world, rng), rng.choice(ATTRIBUTES)
    reply = rng.choice(ANSWERS[attribute]).format_map(words(person, "full"))
    return rng.choice(ONE_STEP[attribute]).format(name=person.name), reply


def tasks(world: World, text: str, about: Any, rng: KeyedRandom) -> str:
    """Alpaca's list: instruction, input and output."""
    _, first, count = about
    items = []
    for number in range(first, first + count):
        question, reply = any_question(world, rng)
        label = "" if number == first else f"{number}. Instruction: "
        items.append(f"{label}{question}\nInput: <no input>\nOutput: {reply}")
    return "\n\n".join(items)


def instructions(world: World, text: str, about: Any, rng: KeyedRandom) -> str:
    """A numbered list of questions."""
    _, first, count = about
    return "\n".join(f"{number}. {any_question(world, rng)[0]}" for number in range(first, first + count))


REPLIES: dict[str, Writer] = {
    "answer": answer,
    "rewrite": retold,
    "tasks": tasks,
    "instructions": instructions,
}
