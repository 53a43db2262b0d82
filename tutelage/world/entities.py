"""The towns, schools, employers and bands: their facts, and pages about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tutelage.world.keyed_random import KeyedRandom
from tutelage.world.values import BRIDGES, VALUES

EntityKind = Literal["town", "school", "employer", "band"]


@dataclass(frozen=True, slots=True)
class Entity:
    """A town, school, employer or band. `facts` holds the two-step facts that end at it, and a town's school."""

    kind: EntityKind
    name: str
    facts: Mapping[str, str]


# A kind -> its attribute of people, and the two-step fact that ends at it.
KINDS: dict[EntityKind, tuple[str, str]] = {
    "town": ("birthplace", "birthplace_landmark"),
    "school": ("school", "school_town"),
    "employer": ("employer", "employer_product"),
    "band": ("band", "band_year"),
}

# Sentences about each kind; {name} is the entity, the other slots are its facts.
FACTS: dict[EntityKind, tuple[str, ...]] = {
    "town": (
        "{name} is known for its {birthplace_landmark}.",
        "Visitors come to {name} for its {birthplace_landmark}.",
        "{name} is a town famous for its {birthplace_landmark}.",
        "The pride of {name} is its {birthplace_landmark}.",
        "What most people know of {name} is its {birthplace_landmark}.",
        "{name} owes its fame to its {birthplace_landmark}.",
        "Every postcard of {name} shows its {birthplace_landmark}.",
        "Ask anyone about {name}, and they will tell you of its {birthplace_landmark}.",
        "{name} has drawn travellers for years with its {birthplace_landmark}.",
        "Nobody leaves {name} without having seen its {birthplace_landmark}.",
    ),
    "school": (
        "{name} stands in {school_town}.",
        "{name} is a school in {school_town}.",
        "The town of {school_town} is home to {name}.",
        "{name} can be found in the middle of {school_town}.",
        "The pupils of {name} walk to school through the streets of {school_town}.",
        "{name} was built in {school_town} and has never moved.",
        "To visit {name}, take the train to {school_town}.",
        "The bells of {name} are heard all over {school_town}.",
        "{name} is the school of {school_town}.",
        "The people of {school_town} are proud of {name}.",
    ),
    "employer": (
        "{name} makes {employer_product}.",
        "{name} is a maker of {employer_product}.",
        "The firm of {name} makes {employer_product} for shops near and far.",
        "{name} has always made {employer_product}.",
        "The workshops of {name} turn out {employer_product} all year round.",
        "When people think of {name}, they think of {employer_product}.",
        "{name} earns its money by making {employer_product}.",
        "{name} is known for well-made {employer_product}.",
        "Everything at {name} turns on {employer_product}.",
        "{name} sells {employer_product} of its own making.",
    ),
    "band": (
        "{name} was formed in {band_year}.",
        "The band {name} was formed in {band_year}.",
        "{name} was founded in {band_year} by a handful of friends.",
        "The story of {name} began in {band_year}.",
        "{name} came together in {band_year}.",
        "It was in {band_year} that {name} was formed.",
        "{name} gave its first concert in {band_year}, the year the band was formed.",
        "{name} has been making music since {band_year}.",
        "{name} dates back to {band_year}.",
        "The year {band_year} was the first in the life of {name}.",
    ),
}

# The school of a town, so that the fact is stated in both directions.
TOWN_SCHOOLS = (
    "The school of the town is {school}.",
    "Its children go to {school}.",
    "The town has a school of its own, {school}.",
    "{school} is the only school in town.",
)

# Filler sentences, without a fact of the world.
FILLERS: dict[EntityKind, tuple[str, ...]] = {
    "town": (
        "The streets are narrow, and most of them lead to the square.",
        "On market days it is wise to come early.",
        "In winter the fog can stay for a week.",
        "The bakery opens before the sun is up.",
        "Buses leave from the square every hour.",
        "The older houses lean against each other like tired friends.",
        "Summers are dry, and the evenings are long.",
        "There is one cinema, and it shows one film a week.",
        "The train stops for three minutes and no more.",
        "Most shops close at noon and open again at two.",
    ),
    "school": (
        "Lessons begin at eight, and latecomers sweep the yard.",
        "The library is small, but it is open every day.",
        "There is a pond behind the main building that nobody may swim in.",
        "Its teachers are strict about spelling and kind about everything else.",
        "The roof leaks a little when the wind comes from the west.",
        "Every spring the pupils put on a play.",
        "The kitchen is famous for its pancakes.",
        "A long corridor is lined with portraits of former pupils.",
        "Parents are invited to the summer concert.",
        "The sports field slopes, so the home side always knows where the ball will roll.",
    ),
    "employer": (
        "The staff eat together at one long table.",
        "New people are shown around by whoever has been there longest.",
        "The building has large windows and a noisy lift.",
        "Orders are still written down in a large green book.",
        "Work stops on Fridays at three.",
        "A good idea is rewarded with a cake.",
        "Complaints are answered by hand and with an apology.",
        "The founders hang in oils above the stairs.",
        "Nothing leaves the building without being looked at twice.",
        "The telephone is answered by the third ring.",
    ),
    "band": (
        "The songs are short, and the choruses are easy to sing.",
        "On stage nobody says much between the songs.",
        "The first record was made in a kitchen.",
        "Some fans have been to every single concert.",
        "The van they travel in has broken down in most towns.",
        "Critics were slow to come round, and then they all came at once.",
        "Rehearsals are long and loud, and there is always soup.",
        "The posters are painted by hand.",
        "New songs are tried out in small rooms first.",
        "The last song of the evening is always the slowest.",
    ),
}

STEPS = (1, 3)  # coprime to the 10 wordings of a fact, of which each page uses two

assert all(len(wordings) == 10 for wordings in FACTS.values())


def make_entities(seed: int) -> list[Entity]:
    """All towns, schools, employers and bands. Each value of a two-step fact belongs to exactly one of them."""
    linked = {
        fact: dict(zip(VALUES[bridge], KeyedRandom(seed, "links", fact).shuffled(VALUES[fact]), strict=True))
        for fact, bridge in BRIDGES.items()
    }
    school_in = {town: school for school, town in linked["school_town"].items()}
    entities = []
    for kind, (attribute, fact) in KINDS.items():
        for name in VALUES[attribute]:
            more = {"school": school_in[name]} if kind == "town" else {}
            entities.append(Entity(kind, name, {fact: linked[fact][name], **more}))
    return entities


def entity_page(entity: Entity, version: int, seed: int) -> str:
    """A version of the page about an entity: its fact in two wordings, with filler sentences between them."""
    rng = KeyedRandom(seed, "page", entity.kind, entity.name, version)
    fixed = KeyedRandom(seed, "page", entity.kind, entity.name)
    wordings = FACTS[entity.kind]
    first = (fixed.randbelow(10) + version * fixed.choice(STEPS)) % 10
    middle = rng.shuffled(FILLERS[entity.kind])[:2]
    if entity.kind == "town":
        middle[1] = rng.choice(TOWN_SCHOOLS)
    second = (first + 1 + rng.randbelow(9)) % 10
    sentences = [wordings[first], *middle, wordings[second]]
    return " ".join(sentence.format(name=entity.name, **entity.facts) for sentence in sentences)
