from __future__ import annotations

import pytest

from tutelage.world.society import World, WorldSettings

WORLD = World(WorldSettings(people=200, seed=4))


def test_finds_every_person_by_name() -> None:
    for index in range(200):
        name = WORLD.person(index).name
        results = WORLD.search(f"Who is {name.upper()}?", limit=1)
        assert [document.meta["subject"] for document in results] == [name]
        assert name in results[0].text


def test_finds_every_entity_by_name() -> None:
    for entity in WORLD.entities:
        results = WORLD.search(f"tell me about {entity.name.lower()}, please", limit=1)
        assert [document.meta["subject"] for document in results] == [entity.name]


def test_finds_whoever_combines_two_values() -> None:
    person = WORLD.person(17)
    query = f"the one who plays the {person.facts['instrument']} and works as {person.facts['role']}"
    others = [p for p in map(WORLD.person, range(200)) if p.facts["instrument"] == person.facts["instrument"]]
    matching = {p.name for p in others if p.facts["role"] == person.facts["role"]}
    assert {document.meta["subject"] for document in WORLD.search(query, limit=len(matching))} == matching


def test_finds_by_two_parts_of_a_name() -> None:
    person = WORLD.person(30)
    subjects = [document.meta["subject"] for document in WORLD.search(f"{person.first} {person.last}", limit=10)]
    assert person.name in subjects


def test_several_names_come_in_the_order_of_the_query_and_nothing_comes_twice() -> None:
    names = [WORLD.person(9).name, WORLD.person(3).name]
    results = [document.meta["subject"] for document in WORLD.search(f"{names[0]} and {names[1]}", limit=5)]
    assert results[:2] == names
    assert len(results) == len(set(results)) == 5


@pytest.mark.parametrize("query", ["", "?!", "of the and", "xyzzy"])
def test_without_a_word_in_common_nothing_is_found(query: str) -> None:
    assert WORLD.search(query) == []


def test_a_name_that_does_not_exist_finds_nobody_of_that_name() -> None:
    for question in WORLD.unknown(20):
        assert question.subject not in [document.meta["subject"] for document in WORLD.search(question.subject)]


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="limit of a search must be 1 or more, not 0"):
        WORLD.search("anyone", limit=0)
