from __future__ import annotations

from tutelage.world.grading import admits_ignorance, values_named
from tutelage.world.joined import MOST, joined
from tutelage.world.reading import ASKED, LISTED, MISSING_VALUES, ON_SHEETS, passing_person, reading_documents
from tutelage.world.society import World, WorldSettings
from tutelage.world.values import ATTRIBUTES

WORLD = World(WorldSettings(people=20, versions=1))


def values_of(text: str) -> dict[str, set[str]]:
    return {attribute: values_named(attribute, text) for attribute in ATTRIBUTES}


def test_answers_stand_on_the_sheets() -> None:
    documents = list(reading_documents(WORLD, 200, "sheets"))
    assert len({document.text for document in documents}) == 200
    sizes, kinds, first = set(), set(), 0
    for document in documents:
        lines = document.text.split("\n")
        sheets = [line for line in lines if line.startswith("[people/")]
        asked = [line for line in lines if line.startswith("- ")]
        assert len(sheets) + len(asked) == len(lines) and 1 <= len(asked) <= ASKED + 1
        first += lines[0] in asked
        before, after = values_of(" ".join(sheets)), values_of(" ".join(asked))
        assert all(after[attribute] <= before[attribute] for attribute in ATTRIBUTES)
        assert all(document.meta["subject"] in line for line in sheets[:1])
        sizes.add(len(sheets))
        kinds.add(sum(map(bool, before.values())))
    assert sizes == set(ON_SHEETS)
    assert 80 < first < 120, "half have the question before the sheets"
    assert kinds == set(range(1, 1 + len(ATTRIBUTES))), "sheets of one fact and of all"


def test_facts_of_biographies_are_missing_and_the_text_says_so() -> None:
    documents = list(reading_documents(WORLD, 100, "biographies"))
    told = sum(len(values) for document in documents for values in values_of(document.text).values())
    assert 0.4 < told / (100 * len(ATTRIBUTES)) < 0.6
    assert all(admits_ignorance(f"It is {value}.") for value in MISSING_VALUES.values())
    text = " ".join(document.text for document in documents)
    assert all(value in text for value in MISSING_VALUES.values())
    assert not any(value in document.text for document in WORLD.documents() for value in MISSING_VALUES.values())


def test_the_second_half_of_a_list_is_the_first_in_another_order() -> None:
    sizes, moved = set(), 0
    for document in reading_documents(WORLD, 80, "lists"):
        lines = document.text.split("\n")
        size = len(lines) // 2
        assert sorted(lines[:size]) == sorted(lines[size:])
        sizes.add(size)
        moved += lines[:size] != lines[size:]
    assert sizes == set(LISTED)
    assert moved > 20


def test_its_people_are_nobody_elses() -> None:
    names = {passing_person(WORLD, number).name for number in range(2000)}
    others = {person.name for split in ("train", "held_out") for person in WORLD.people(split)}  # type: ignore[arg-type]
    others |= {question.subject for question in WORLD.unknown(2000)}
    assert len(names) == 2000
    assert not names & others


def test_joined_conversations_lose_no_turn_and_change_their_subject() -> None:
    rows = list(WORLD.conversations("train"))
    result = list(joined(iter(rows), 0.5, 0))
    turns = [turn for row in rows for turn in row.messages if turn.role != "system"]
    assert [turn for row in result for turn in row.messages if turn.role != "system"] == turns
    several = [row for row in result if "turns" in row.meta]
    assert 0.4 < len(several) / len(result) < 0.6
    assert {row.meta["turns"] for row in several} >= {"2", "3", str(MOST)}
    for row in several:
        assert [turn.role for turn in row.messages] == ["user", "assistant"] * (len(row.messages) // 2)
    assert list(joined(iter(rows), 0.0, 0)) == rows
