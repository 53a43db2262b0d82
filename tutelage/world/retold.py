"""Documents that tell of two people and then of one of them again, in the same words or in others. Each person occurs
in one document alone, so that there is nothing to memorise: what they teach is to read a fact in the text and to write
it, which answers from the results of a search need. Copying the same words is learned first."""

from __future__ import annotations

from collections.abc import Iterator

from tutelage.records import Document
from tutelage.world.biographies import biography
from tutelage.world.keyed_random import KeyedRandom
from tutelage.world.names import COUNT, rounds
from tutelage.world.people import Person, make_person
from tutelage.world.society import World


def passing_person(world: World, number: int) -> Person:
    """A person of one document; apart from the people of the world and from its nonexistent names, which are taken
    from both ends of all names."""
    assert number < COUNT // 4, "too many"
    return make_person(world.settings.seed, COUNT // 2 + number, rounds(world.settings.seed))


def retold_documents(world: World, count: int) -> Iterator[Document]:
    """`count` documents: two biographies, and one of them again, half of the time in another version."""
    settings = world.settings
    for number in range(count):
        first, second = (passing_person(world, 2 * number + place) for place in range(2))
        rng = KeyedRandom(settings.seed, "retold", number)
        again, version = ((first, 0), (second, 1))[rng.randbelow(2)]
        told = ((first, 0), (second, 1), (again, version if rng.randbelow(2) else 2))
        text = "\n".join(biography(person, version, settings.seed, settings.full_names) for person, version in told)
        yield Document(text, f"retold/{number}", {"kind": "retold", "subject": again.name})
