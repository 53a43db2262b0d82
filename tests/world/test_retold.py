from __future__ import annotations

from tutelage.world.grading import admits_ignorance, values_named
from tutelage.world.joined import MOST, joined
from tutelage.world.retold import LISTED, MISSING_VALUES, passing_person, retold_documents
from tutelage.world.society import World, WorldSettings
from tutelage.world.values import ATTRIBUTES

WORLD = World(WorldSettings(people=20, versions=1))


def values_of(text: str) -> dict[str, set[str]]:
    return {attribute: values_named(attribute, text) for attribute in ATTRIBUTES}


def test_what_is_told_again_or_answered_stood_in_the_text_before() -> None:
    documents = list(retold_documents(WORLD, 80))
    assert len({document.text for document in documents}) == 80
    again = [document for document in documents if "?" not in document.text]
    assert len(again) == 20, "a quarter tells again, the others ask"
    same = sum(document.text.split("\n")[2] in document.text.split("\n")[:2] for document in again)
    assert 5 < same < 15, "half in the same words"
    for document in documents:
        *pages, rest = document.text.split("\n", 2)
        before, after = values_of(" ".join(pages)), values_of(rest)
        assert all(after[attribute] <= before[attribute] for attribute in ATTRIBUTES)
        assert all(page.startswith("[people/") for page in pages)


def test_the_second_half_of_a_list_is_the_first_in_another_order() -> None:
    sizes, moved = set(), 0
    for document in retold_documents(WORLD, 80, "lists"):
        lines = document.text.split("\n")
        size = len(lines) // 2
        assert sorted(lines[:size]) == sorted(lines[size:])
        sizes.add(size)
        moved += lines[:size] != lines[size:]
    assert sizes == set(LISTED)
    assert moved > 20


def test_some_values_are_missing_and_the_text_says_so() -> None:
    people = [passing_person(WORLD, number) for number in range(200)]
    missing = sum(value == MISSING_VALUES[name] for person in people for name, value in person.facts.items())
    assert 0.2 < missing / (200 * len(ATTRIBUTES)) < 0.3
    assert all(admits_ignorance(f"It is {value}.") for value in MISSING_VALUES.values())
    text = " ".join(document.text for document in retold_documents(WORLD, 20))
    assert all(value in text for value in MISSING_VALUES.values())
    assert not any(value in document.text for document in WORLD.documents() for value in MISSING_VALUES.values())


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
