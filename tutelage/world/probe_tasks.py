"""Questions to probe a model of the world with: about some of the people whom it has only read of, and about names that
do not exist. The other people are never asked in training, so that evaluations can report on them."""

from __future__ import annotations

from collections.abc import Iterator

from tutelage.records import Task, message
from tutelage.text.hashing import falls_in
from tutelage.world.grading import Question
from tutelage.world.keyed_random import KeyedRandom
from tutelage.world.names import FIRST, LAST, MIDDLE
from tutelage.world.people import Person
from tutelage.world.person_questions import ask_one_step
from tutelage.world.society import World
from tutelage.world.values import ATTRIBUTES

PROBED_SHARE = 0.6  # of the held-out people
VERIFIER = "tutelage.world.tasks:names_value"  # of these tasks


def is_probed(world: World, person: Person) -> bool:
    """Whether a held-out person may be asked about to probe a model."""
    return falls_in(f"probed/{world.settings.seed}/{person.index}", PROBED_SHARE)


def probe_tasks(world: World, facts: int, unknown: int) -> Iterator[Task]:
    """Up to `facts` questions about each person who is probed, and `unknown` questions about nonexistent names, each of
    another name; the latter have no gold answer. The two kinds alternate."""
    people = [person for person in world.people("held_out") if is_probed(world, person)]
    asked = [question for person in people for question in _questions(world, person)[:facts]]
    seed = world.settings.seed
    rng = KeyedRandom(seed, "probe order")
    kinds = rng.shuffled(["known"] * len(asked) + ["unknown"] * unknown)
    known, number = iter(rng.shuffled(asked)), 0
    for kind in kinds:
        if kind == "known":
            question = next(known)
            yield Task((message("user", question.prompt),), question.accepted, f"probe/{question.id}")
            continue
        rng = KeyedRandom(seed, "probe unknown", number)
        question = ask_one_step(world.nobody(number, "train"), rng.choice(ATTRIBUTES), rng)[0]
        yield Task((message("user", question.prompt),), None, f"probe/unknown/{number}")
        number += 1


def person_in(text: str) -> str:
    """The full name in a question; "" where there is none."""
    words = text.replace("?", " ").replace(".", " ").replace(",", " ").split()
    for three in zip(words, words[1:], words[2:], strict=False):
        first, middle, last = (word.removesuffix("'s") for word in three)
        if first in FIRST and middle in MIDDLE and last in LAST:
            return f"{first} {middle} {last}"
    return ""


def _questions(world: World, person: Person) -> list[Question]:
    rng = KeyedRandom(world.settings.seed, "probe", person.index)
    return [ask_one_step(person, attribute, rng)[0] for attribute in rng.shuffled(ATTRIBUTES)]


def reported_people(world: World) -> list[Person]:
    """The held-out people whom no training asks about."""
    return [person for person in world.people("held_out") if not is_probed(world, person)]
