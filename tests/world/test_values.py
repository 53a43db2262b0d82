from __future__ import annotations

import pytest

from tutelage.scoring.extract import normalise
from tutelage.world.names import FIRST, LAST, MIDDLE
from tutelage.world.values import ATTRIBUTES, BRIDGES, VALUES, with_article

# A school's town is one of the towns in which people are born.
DISTINCT = {attribute: values for attribute, values in VALUES.items() if attribute != "school_town"}


def test_every_attribute_and_every_two_step_fact_has_32_values() -> None:
    assert set(VALUES) == set(ATTRIBUTES) | set(BRIDGES)
    assert {attribute: len(set(values)) for attribute, values in VALUES.items()} == dict.fromkeys(VALUES, 32)


@pytest.mark.parametrize("attribute", VALUES)
def test_no_value_is_part_of_another_of_its_attribute(attribute: str) -> None:
    values = [value.casefold() for value in VALUES[attribute]]
    assert [(a, b) for a in values for b in values if a != b and a in b] == []


def test_no_value_is_named_inside_another_or_inside_a_name() -> None:
    spoken = [normalise(value) for values in DISTINCT.values() for value in values]
    spoken += [normalise(name) for name in (*FIRST, *MIDDLE, *LAST)]
    assert len(spoken) == len(set(spoken))
    assert [(a, b) for a in spoken for b in spoken if a != b and f" {a} " in f" {b} "] == []


def test_values_end_no_sentence() -> None:
    assert not [value for values in VALUES.values() for value in values if set(value) & set(".!?\n")]


def test_article() -> None:
    assert with_article("archivist") == "an archivist"
    assert with_article("welder") == "a welder"
