from __future__ import annotations

import pytest

from tutelage.world.names import rounds
from tutelage.world.people import make_person, words
from tutelage.world.values import ATTRIBUTES, BRIDGES
from tutelage.world.wordings import (
    ANSWERS,
    BRIEF,
    FOLLOW_UPS,
    JOINED,
    ONE_STEP,
    REVERSE,
    REVERSE_ANSWERS,
    TWO_STEP,
    TWO_STEP_ANSWERS,
    UNKNOWN_ANSWERS,
    clauses,
)

PERSON = make_person(0, 0, rounds(0))
SLOTS = words(PERSON, "full")


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_attributes_are_asked_for_in_many_wordings(attribute: str) -> None:
    asked = ONE_STEP[attribute] + BRIEF[attribute]
    assert len(set(asked)) >= 10
    assert all(wording.count("{name}") == 1 and wording[-1] in "?." for wording in asked)
    assert len(set(ANSWERS[attribute])) >= 3  # and the value alone
    assert all(PERSON.facts[attribute] in answer.format_map(SLOTS) for answer in ANSWERS[attribute])
    assert all("{name}" not in wording for wording in FOLLOW_UPS[attribute])


@pytest.mark.parametrize("fact", BRIDGES)
def test_two_steps_are_asked_in_many_wordings_and_answered_through_the_bridge(fact: str) -> None:
    assert len(set(TWO_STEP[fact])) >= 8
    assert all(wording.count("{name}") == 1 for wording in TWO_STEP[fact])
    assert len(set(TWO_STEP_ANSWERS[fact])) >= 4
    assert all("{" + fact + "}" in a and "{" + BRIDGES[fact] + "}" in a for a in TWO_STEP_ANSWERS[fact])


def test_reverse_and_unknown_have_many_wordings() -> None:
    assert len(set(REVERSE)) >= 8
    assert all(wording.count("{clauses}") == 1 for wording in REVERSE)
    assert len(set(REVERSE_ANSWERS)) >= 4
    assert all("{name}" in wording for wording in REVERSE_ANSWERS)
    assert len(set(UNKNOWN_ANSWERS)) >= 8


def test_clauses_say_all_that_is_given_once() -> None:
    for count in range(1, len(ATTRIBUTES) + 1):
        description = clauses(ATTRIBUTES[:count], SLOTS)
        assert [description.count(PERSON.facts[attribute]) for attribute in ATTRIBUTES] == [1] * count + [0] * (
            7 - count
        )
    assert clauses(("band", "instrument"), SLOTS) == JOINED["instrument", "band"].format_map(SLOTS)
    one, two = PERSON.facts["school"], PERSON.facts["band"]
    assert clauses(("band", "school"), SLOTS) == f"went to {one} and plays in {two}"
