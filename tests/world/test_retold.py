from __future__ import annotations

from tutelage.world.grading import values_named
from tutelage.world.joined import MOST, joined
from tutelage.world.retold import passing_person, retold_documents
from tutelage.world.society import World, WorldSettings
from tutelage.world.values import ATTRIBUTES

WORLD = World(WorldSettings(people=20, versions=1))


def test_what_is_told_again_stood_in_the_text_before() -> None:
    documents = list(retold_documents(WORLD, 50))
    assert len({document.text for document in documents}) == 50
    same = sum(document.text.split("\n")[2] in document.text.split("\n")[:2] for document in documents)
    assert 15 < same < 35, "half in the same words"
    for document in documents:
        *before, again = document.text.split("\n")
        assert len(before) == 2
        for attribute in ATTRIBUTES:
            assert values_named(attribute, again) <= values_named(attribute, " ".join(before))
        assert document.meta["subject"] in again


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
