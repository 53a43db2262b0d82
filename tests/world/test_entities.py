from __future__ import annotations

from collections import Counter

import pytest

from tutelage.world.entities import FACTS, FILLERS, KINDS, Entity, entity_page, make_entities
from tutelage.world.grading import values_named
from tutelage.world.values import VALUES

ENTITIES = make_entities(0)


def test_every_town_school_employer_and_band_is_there_once() -> None:
    assert Counter(entity.kind for entity in ENTITIES) == dict.fromkeys(KINDS, 32)
    assert len({entity.name for entity in ENTITIES}) == 128


@pytest.mark.parametrize("kind", KINDS)
def test_each_value_of_a_fact_belongs_to_one_entity(kind: str) -> None:
    fact = KINDS[kind][1]
    assert sorted(e.facts[fact] for e in ENTITIES if e.kind == kind) == sorted(VALUES[fact])


def test_towns_and_schools_agree() -> None:
    stands_in = {entity.name: entity.facts["school_town"] for entity in ENTITIES if entity.kind == "school"}
    for town in (entity for entity in ENTITIES if entity.kind == "town"):
        assert stands_in[town.facts["school"]] == town.name


@pytest.mark.parametrize("entity", ENTITIES, ids=lambda entity: entity.name)
def test_every_page_states_the_fact_and_no_other(entity: Entity) -> None:
    fact = KINDS[entity.kind][1]
    pages = {entity_page(entity, version, 0) for version in range(10)}
    assert len(pages) == 10
    for page in pages:
        right = values_named(fact, entity.facts[fact])
        assert values_named(fact, page) == right
        assert page.count(entity.name) >= 2


def test_wordings_are_many_and_colour_states_nothing() -> None:
    assert all(len(set(wordings)) == 10 for wordings in (*FACTS.values(), *FILLERS.values()))
    text = " ".join(sentence for sentences in FILLERS.values() for sentence in sentences)
    assert not [attribute for attribute in VALUES if values_named(attribute, text)]


def test_the_seed_changes_the_facts() -> None:
    assert [e.facts for e in make_entities(1)] != [e.facts for e in ENTITIES]
