"""Documents about people who occur in one document alone, so that there is nothing to memorise about them. They teach a
small model two things that answers need and that biographies of the same people, read again and again, do not teach:

- to copy: lists that are repeated; two pages, and then one of them again, in the same words or in others, or questions
  and answers about both. Answers from the results of a search copy a value from the text in the same way;
- that a fact may be unknown: some values are missing, and the text says so in their place. Only people who are read
  about often never lack one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from tutelage.records import Document
from tutelage.world.biographies import biography
from tutelage.world.keyed_random import KeyedRandom
from tutelage.world.names import COUNT, rounds
from tutelage.world.people import Person, make_person
from tutelage.world.person_questions import ask_one_step
from tutelage.world.society import World
from tutelage.world.values import ATTRIBUTES, Attribute

RetoldForm = Literal["pages", "lists"]
FORMS: tuple[RetoldForm, ...] = ("pages", "lists")
LISTED = (1, 1, 2, 2, 3, 4, 6)  # people of a list
ASKED = 10  # questions of a document
MISSING = 4  # of how many values one is missing
VERSIONS, PAGES = 12, 2000
# What stands in the place of a value that nobody knows.
MISSING_VALUES: dict[Attribute, str] = {
    "birthplace": "a town that is not recorded",
    "birth_year": "a year that is not recorded",
    "school": "a school that is not recorded",
    "employer": "a firm that is not recorded",
    "role": "trade that is not recorded",
    "instrument": "instrument that is not recorded",
    "band": "a band that is not recorded",
}


def passing_person(world: World, number: int) -> Person:
    """A person of one document; apart from the people of the world and from its nonexistent names, which are taken
    from both ends of all names. Some values are missing."""
    assert number < COUNT // 4, "too many"
    person = make_person(world.settings.seed, COUNT // 2 + number, rounds(world.settings.seed))
    rng = KeyedRandom(world.settings.seed, "missing", number)
    facts = {
        attribute: MISSING_VALUES[attribute] if rng.randbelow(MISSING) == 0 else value
        for attribute, value in person.facts.items()
    }
    return replace(person, facts=facts)


def retold_documents(world: World, count: int, form: RetoldForm = "pages") -> Iterator[Document]:
    """`count` documents of a form. "pages": two biographies; then one of them again, half of the time in another
    version, or questions about both with their answers. "lists": one fact of each of a few people, and all again in
    another order. The shorter a list, the sooner a model learns to copy from it; lists have one to six people."""
    for number in range(count):
        rng = KeyedRandom(world.settings.seed, "retold", form, number)
        size = rng.choice(LISTED) if form == "lists" else 2
        first = FORMS.index(form) * (COUNT // 8) + LISTED[-1] * number
        people = [passing_person(world, first + place) for place in range(size)]
        if form == "lists":
            lines = _listed_again(people, rng)
        else:
            pages = _pages(world, people, rng)
            lines = [*pages, *(_questions(people, rng) if number % 4 else _told_again(world, people, pages, rng))]
        yield Document("\n".join(lines), f"retold/{form}/{number}", {"kind": "retold", "subject": people[0].name})


def _pages(world: World, people: list[Person], rng: KeyedRandom) -> list[str]:
    """A biography of each person, as a search shows pages. A line opens with a mark and a space, here and below: a name
    at the beginning of a line is another token than in the middle."""
    settings = world.settings
    texts = [biography(person, rng.randbelow(VERSIONS), settings.seed, settings.full_names) for person in people]
    return [f"[people/{rng.randbelow(PAGES)}] {text}" for text in texts]


def _told_again(world: World, people: list[Person], pages: list[str], rng: KeyedRandom) -> list[str]:
    again = rng.randbelow(len(people))
    return [pages[again]] if rng.randbelow(2) else _pages(world, [people[again]], rng)


def _listed_again(people: list[Person], rng: KeyedRandom) -> list[str]:
    """One fact of each person, and again in another order: every name and value of the second half is in the first."""
    attribute = rng.choice(ATTRIBUTES)
    lines = [f"- {person.name}: {person.facts[attribute]}" for person in people]
    return [*lines, *rng.shuffled(lines)]


def _questions(people: list[Person], rng: KeyedRandom) -> Iterator[str]:
    """Questions about people, each with its answer."""
    asked = rng.shuffled([(person, attribute) for person in people for attribute in ATTRIBUTES])[:ASKED]
    for person, attribute in asked:
        question, reply = ask_one_step(person, attribute, rng)
        yield f"- {question.prompt} {reply[0].upper()}{reply[1:]}"
