"""What a search over the built-in world finds: pages about its towns, schools, firms and bands, in a wording that no
document has, and sheets of facts about all its people and about further people of whom no document tells."""

from __future__ import annotations

from collections.abc import Iterator

from tutelage.records import Document, Split
from tutelage.tools.search import SearchIndex, build_index, search, search_tool, shown_result
from tutelage.tools.tool import Tool
from tutelage.world.entities import entity_page
from tutelage.world.keyed_random import KeyedRandom
from tutelage.world.names import COUNT, rounds
from tutelage.world.people import Person, make_person
from tutelage.world.reading import fact_sheet
from tutelage.world.society import World
from tutelage.world.values import ATTRIBUTES

PARTIAL = 120  # characters, so that two searches fit into a small context
SPLITS: tuple[Split, ...] = ("train", "held_out")


def indexed_person(world: World, number: int, split: Split) -> Person:
    """Person `number` of those that are only in the index. Their names are taken from the end of all names, so that
    neither people of the world nor its names that do not exist are among them."""
    index = COUNT - 1 - 2 * number - SPLITS.index(split)
    assert index >= world.settings.people, "the world has nearly as many people as there are names"
    return make_person(world.settings.seed, index, rounds(world.settings.seed))


def world_pages(world: World, indexed: int) -> Iterator[Document]:
    """The pages of all people and entities of the world, and of `indexed` further people of each split."""
    settings = world.settings
    people = [world.person(index) for index in range(settings.people)]
    people += [indexed_person(world, number, split) for number in range(indexed) for split in SPLITS]
    for place, person in enumerate(people):
        attributes = KeyedRandom(settings.seed, "sheet", person.index).shuffled(ATTRIBUTES)
        yield Document(fact_sheet(person, attributes), f"people/{place}")
    for entity in world.entities:
        yield Document(entity_page(entity, settings.versions, settings.seed), f"{entity.kind}/{_name(entity.name)}")


def world_index(world: World, indexed: int) -> SearchIndex:
    """The index over `world_pages`."""
    return build_index(world_pages(world, indexed))


def world_search_tool(index: SearchIndex) -> Tool:
    """Search over the pages of a world; of pages that have only some of the words the beginning is shown."""
    return search_tool(index, partial=PARTIAL)


def world_result(index: SearchIndex, query: str) -> str:
    """What `world_search_tool` answers."""
    return shown_result(search(index, query), PARTIAL)


def _name(text: str) -> str:
    return text.lower().replace(" ", "-").replace("'", "")
