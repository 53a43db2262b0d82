from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.scoring.extract import normalise
from tutelage.world.biographies import CLOZE, FILLERS, PAIRED, SINGLE, biography
from tutelage.world.names import rounds
from tutelage.world.people import Person, make_person, words
from tutelage.world.values import ATTRIBUTES, VALUES


def person(index: int, seed: int = 0) -> Person:
    return make_person(seed, index, rounds(seed))


@settings(max_examples=200)
@given(st.integers(0, 5), st.integers(0, 100_000), st.integers(0, 1000), st.sampled_from([0.0, 0.3, 0.6, 1.0]))
def test_every_fact_is_stated_verbatim_and_no_other(seed: int, index: int, version: int, full_names: float) -> None:
    someone = person(index, seed)
    text = biography(someone, version, seed, full_names)
    for attribute in ATTRIBUTES:
        stated = [value for value in VALUES[attribute] if f" {normalise(value)} " in f" {normalise(text)} "]
        assert stated == [someone.facts[attribute]]
        assert someone.facts[attribute] in text


@settings(max_examples=200)
@given(st.integers(0, 100_000), st.integers(0, 1000))
def test_a_biography_is_well_formed(index: int, version: int) -> None:
    text = biography(person(index), version, 0, 0.6)
    sentences = re.split(r"(?<=\.) ", text)
    assert person(index).name in sentences[0]
    assert 5 <= len(sentences) <= 8
    assert 45 <= len(text.split()) <= 120
    assert all(sentence[0].isupper() and sentence.endswith(".") for sentence in sentences)
    assert "{" not in text
    assert "  " not in text


def test_every_version_differs() -> None:
    for index in range(50):
        assert len({biography(person(index), version, 0, 0.6) for version in range(24)}) == 24


def test_two_neighbouring_versions_state_every_fact_beside_the_full_name() -> None:
    for index in range(100):
        someone = person(index)
        text = biography(someone, 0, 0, 0.5) + " " + biography(someone, 1, 0, 0.5)
        named = " ".join(sentence for sentence in re.split(r"(?<=\.) ", text) if someone.name in sentence)
        assert all(value in named for value in someone.facts.values())


def test_about_half_of_the_sentences_name_the_person_in_full() -> None:
    texts = {index: biography(person(index), 0, 0, 0.6) for index in range(300)}
    sentences = sum(len(re.split(r"(?<=\.) ", text)) for text in texts.values())
    named = sum(text.count(person(index).name) for index, text in texts.items())
    assert 0.4 < named / sentences < 0.6


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_wordings_are_many_and_state_only_their_attribute(attribute: str) -> None:
    wordings = SINGLE[attribute]
    assert len(set(wordings)) >= 10
    for wording in wordings:
        assert sum("{" + name + "}" in wording.replace("{a_role}", "{role}") for name in ATTRIBUTES) == 1
        assert "{" + attribute + "}" in wording.replace("{a_role}", "{role}")


def test_pairs_state_both_attributes_and_fillers_state_none() -> None:
    for pair, wordings in PAIRED.items():
        for wording in wordings:
            stated = {name for name in ATTRIBUTES if "{" + name + "}" in wording.replace("{a_role}", "{role}")}
            assert stated == set(pair)
    text = normalise(" ".join(FILLERS))
    assert not [value for values in VALUES.values() for value in values if f" {normalise(value)} " in f" {text} "]


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_a_cloze_opens_sentences_of_its_attribute_and_of_no_other(attribute: str) -> None:
    someone = person(0)
    sentences = [wording for wordings in (*SINGLE.values(), *PAIRED.values()) for wording in wordings]
    filled = [sentence.format_map(words(someone, "full")) for sentence in sentences]
    value = someone.facts[attribute]
    for cloze in CLOZE[attribute]:
        opening = cloze.format(name=someone.name) + " "
        rest = [sentence.removeprefix(opening) for sentence in filled if sentence.startswith(opening)]
        direct = [text for text in rest if re.match(rf"(an? )?{re.escape(value)}\b", text)]
        assert direct
        # "was born in" also opens "was born in X and went to Y": what comes first is still the value.
        assert direct == rest
