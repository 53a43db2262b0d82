from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.world.names import HE, SHE, THEY, rounds
from tutelage.world.people import make_person, split_of, words
from tutelage.world.values import ATTRIBUTES, VALUES

PEOPLE = [make_person(0, index, rounds(0)) for index in range(2000)]


def test_pronouns_go_with_first_names() -> None:
    lists = {"she": SHE, "he": HE, "they": THEY}
    assert all(person.first in lists[person.pronoun] for person in PEOPLE)
    assert {person.pronoun for person in PEOPLE} == set(lists)


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_values_are_spread_evenly(attribute: str) -> None:
    held = [person.facts[attribute] for person in PEOPLE]
    counts = [held.count(value) for value in VALUES[attribute]]
    assert sum(counts) == len(PEOPLE)
    assert 30 < min(counts) <= max(counts) < 100  # 62 each, give or take four deviations


def test_attributes_do_not_tell_of_each_other() -> None:
    for i, one in enumerate(ATTRIBUTES):
        for other in ATTRIBUTES[i + 1 :]:
            pairs = {(person.facts[one], person.facts[other]) for person in PEOPLE}
            assert 800 < len(pairs) < 960  # of 1024 pairs, 2000 independent rng reach about 879


def test_the_seed_changes_the_facts() -> None:
    assert make_person(0, 5, rounds(0)).facts != make_person(1, 5, rounds(0)).facts


@given(st.integers(), st.integers(0, 10**6))
def test_of_two_neighbours_one_trains_and_one_is_held_out(seed: int, pair: int) -> None:
    assert {split_of(seed, 2 * pair), split_of(seed, 2 * pair + 1)} == {"train", "held_out"}


def test_which_neighbour_trains_is_drawn() -> None:
    first = [split_of(0, 2 * pair) for pair in range(1000)]
    assert 430 < first.count("train") < 570


def test_words_agree_with_the_voice() -> None:
    def said(pronoun: str, voice: str) -> str:
        person = next(person for person in PEOPLE if person.pronoun == pronoun)
        template = (
            "{Who} {is} here, {was} there and {has} music; {who} play{s}, {they} sing{z}, and {they_are} {whose}."
        )
        return template.format_map(words(person, voice)).replace(person.name, "NAME").replace(person.first, "FIRST")

    assert (
        said("they", "pronoun") == "They are here, were there and have music; they play, they sing, and they are their."
    )
    assert said("she", "pronoun") == "She is here, was there and has music; she plays, she sings, and she is her."
    assert said("he", "first") == "FIRST is here, was there and has music; FIRST plays, he sings, and he is FIRST's."
    assert said("they", "full") == "NAME is here, was there and has music; NAME plays, they sing, and they are NAME's."
