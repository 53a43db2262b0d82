"""Documents about people who occur in one document alone, so that there is nothing to memorise about them. They teach a
small model what biographies of the same people, read again and again, do not teach:

- to copy: lists that are repeated in another order;
- to read: sheets of facts with questions about them. Answers from the result of a search read it in the same way;
- to be unsure: biographies in which some facts are "not recorded". Only people whom many texts describe never lack one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

from tutelage.records import Document
from tutelage.world.answers import NOUNS
from tutelage.world.biographies import biography
from tutelage.world.keyed_random import KeyedRandom
from tutelage.world.names import COUNT, rounds
from tutelage.world.people import Person, make_person
from tutelage.world.person_questions import ask_one_step
from tutelage.world.society import World
from tutelage.world.values import ATTRIBUTES, Attribute

ReadingForm = Literal["lists", "sheets", "biographies"]
FORMS: tuple[ReadingForm, ...] = ("lists", "sheets", "biographies")
LISTED = (1, 1, 2, 2, 3, 4, 6)  # people of a list
ON_SHEETS = (1, 1, 2)  # people of a document with sheets
ASKED = 4  # questions of a document with sheets
MISSING = 2  # of how many facts of a biography one is missing
# What stands in the place of a fact that nobody knows.
MISSING_VALUES: dict[Attribute, str] = {
    "birthplace": "a town that is not recorded",
    "birth_year": "a year that is not recorded",
    "school": "a school that is not recorded",
    "employer": "a firm that is not recorded",
    "role": "trade that is not recorded",
    "instrument": "instrument that is not recorded",
    "band": "a band that is not recorded",
}
PAGES = 2000  # numbers of pages, which stand before a sheet as in the result of a search


def passing_person(world: World, number: int) -> Person:
    """A person of one document; apart from the people of the world and from its nonexistent names, which are taken
    from both ends of all names."""
    assert number < COUNT // 4, "too many"
    return make_person(world.settings.seed, COUNT // 2 + number, rounds(world.settings.seed))


def reading_documents(world: World, count: int, form: ReadingForm) -> Iterator[Document]:
    """`count` documents of a form. "lists": one fact of each of a few people, and all again in another order: the
    shorter a list, the sooner a model learns to copy from it. "sheets": some facts of one or two people, and questions
    for them with answers: the fewer facts, the sooner a model learns to find one. "biographies": one each."""
    for number in range(count):
        rng = KeyedRandom(world.settings.seed, "reading", form, number)
        sizes = {"lists": LISTED, "sheets": ON_SHEETS, "biographies": (1,)}[form]
        first = FORMS.index(form) * (COUNT // 12) + LISTED[-1] * number
        people = [passing_person(world, first + place) for place in range(rng.choice(sizes))]
        lines = {"lists": _listed_again, "sheets": _sheets, "biographies": _biography}[form](world, people, rng)
        yield Document("\n".join(lines), f"reading/{form}/{number}", {"kind": "reading", "subject": people[0].name})


def fact_sheet(person: Person, attributes: Sequence[Attribute]) -> str:
    """The name and some facts in one line: "Ada Adair Askew; birthplace: Brindle; band: The Second Moon"."""
    return "; ".join([person.name, *(f"{NOUNS[attribute]}: {person.facts[attribute]}" for attribute in attributes)])


def _listed_again(world: World, people: list[Person], rng: KeyedRandom) -> list[str]:
    """Every name and value of the second half is in the first. A line opens with a mark and a space, here and below: a
    name at the beginning of a line is another token than in the middle."""
    attribute = rng.choice(ATTRIBUTES)
    lines = [f"- {person.name}: {person.facts[attribute]}" for person in people]
    return [*lines, *rng.shuffled(lines)]


def _sheets(world: World, people: list[Person], rng: KeyedRandom) -> list[str]:
    """Half of the time the question stands before the sheets, as before the result of a search."""
    attributes = rng.shuffled(ATTRIBUTES)[: 1 + rng.randbelow(len(ATTRIBUTES))]
    sheets = [f"[people/{rng.randbelow(PAGES)}] {fact_sheet(person, rng.shuffled(attributes))}" for person in people]
    asked = rng.shuffled([(person, attribute) for person in people for attribute in attributes])[:ASKED]
    pairs = [ask_one_step(person, attribute, rng) for person, attribute in asked]
    answered = [f"- {question.prompt} {reply}" for question, reply in pairs]
    if rng.randbelow(2):
        question, reply = pairs[0]
        return [f"- {question.prompt}", *sheets, f"- {reply}", *answered[1:]]
    return [*sheets, *answered]


def _biography(world: World, people: list[Person], rng: KeyedRandom) -> list[str]:
    settings, (person,) = world.settings, people
    facts = {
        attribute: MISSING_VALUES[attribute] if rng.randbelow(MISSING) == 0 else value
        for attribute, value in person.facts.items()
    }
    version = rng.randbelow(settings.versions)
    return [biography(replace(person, facts=facts), version, settings.seed, settings.full_names)]
