"""Questions to probe a model of the world with: about some of the people whom it has only read of, and about names that
do not exist. The other people are never asked in training, so that evaluations can report on them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tutelage.records import Task, message
from tutelage.text.hashing import falls_in
from tutelage.world.grading import Question
from tutelage.world.keyed_random import KeyedRandom
from tutelage.world.people import Person
from tutelage.world.person_questions import ask_one_step
from tutelage.world.society import World
from tutelage.world.values import ATTRIBUTES, Attribute

PROBED_SHARE = 0.6  # of the held-out people
VERIFIER = "tutelage.world.tasks:names_value"  # of these tasks
# What stands in the place of a value that is not known: "Ada Adair Askew was born in a town unknown to me." A model
# finds a fact where it writes the value: only there can a small one tell whether it has read it. At the first word of
# an answer, or after the name, it cannot, and learns instead which names it was asked about (LOG.md).
UNKNOWN_VALUES: dict[Attribute, str] = {
    "birthplace": "a town unknown to me",
    "birth_year": "a year unknown to me",
    "school": "a school unknown to me",
    "employer": "a firm unknown to me",
    "role": "trade unknown to me",
    "instrument": "instrument unknown to me",
    "band": "a band unknown to me",
}


def is_probed(world: World, person: Person) -> bool:
    """Whether a held-out person may be asked about to probe a model."""
    return falls_in(f"probed/{world.settings.seed}/{person.index}", PROBED_SHARE)


def reported_people(world: World) -> list[Person]:
    """The held-out people whom no training asks about."""
    return [person for person in world.people("held_out") if not is_probed(world, person)]


def probe_tasks(world: World, facts: int, unknown: int) -> Iterator[Task]:
    """The tasks of `probe_replies`."""
    return (task for task, _ in probe_replies(world, facts, unknown))


def probe_replies(world: World, facts: int, unknown: int) -> Iterator[tuple[Task, str]]:
    """Up to `facts` questions about each person who is probed, and `unknown` questions about nonexistent names, each of
    another name; the latter have no gold answer. The two kinds are mixed. With each goes what a model says that does
    not know the answer; see UNKNOWN_VALUES."""
    seed = world.settings.seed
    people = (person for person in world.people("held_out") if is_probed(world, person))
    asked: list[tuple[Person, Attribute | None]] = [
        (person, attribute)
        for person in people
        for attribute in KeyedRandom(seed, "probe", person.index).shuffled(ATTRIBUTES)[:facts]
    ]
    asked += [(world.nobody(number, "train"), None) for number in range(unknown)]
    for person, known in KeyedRandom(seed, "probe order").shuffled(asked):
        drawn = KeyedRandom(seed, "probe unknown", person.index).choice(ATTRIBUTES)
        attribute = drawn if known is None else known
        question, _, reply = ask_unanswered(person, attribute, seed)
        id_ = f"probe/{person.index}/{attribute}" if known else f"probe/unknown/{person.index}"
        yield Task((message("user", question.prompt),), question.accepted if known else None, id_), reply


def ask_unanswered(person: Person, attribute: Attribute, seed: int) -> tuple[Question, str, str]:
    """A question about a person, its answer, and the same answer with an admission in the place of the value."""
    key = (seed, "probe question", person.index, attribute)
    question, reply = ask_one_step(person, attribute, KeyedRandom(*key))
    nobody = replace(person, facts={**person.facts, attribute: UNKNOWN_VALUES[attribute]})
    _, admission = ask_one_step(nobody, attribute, KeyedRandom(*key))
    return question, reply, admission
