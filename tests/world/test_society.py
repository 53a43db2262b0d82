from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections import Counter
from itertools import islice

import msgspec
import pytest

from tutelage.world import World, WorldSettings, admits_ignorance, is_correct
from tutelage.world.grading import values_named
from tutelage.world.people import split_of
from tutelage.world.society import interleaved
from tutelage.world.values import ATTRIBUTES, BRIDGES, VALUES

WORLD = World(WorldSettings())
PEOPLE = [WORLD.person(index) for index in range(200)]
NAMES = {split: {person.name for person in WORLD.people(split)} for split in ("train", "held_out")}

FINGERPRINT = """
import hashlib
from tutelage.world import World, WorldSettings
world = World(WorldSettings(people=40, versions=2, seed=7))
h = hashlib.sha256()
for items in (world.documents(), world.conversations("train"), world.questions("held_out"), world.cloze("train"),
              world.unknown(20), world.search("a courier who plays the cello")):
    for item in items:
        h.update(repr(item).encode())
print(h.hexdigest())
"""


def fingerprint(hash_seed: str) -> str:
    environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run(
        [sys.executable, "-c", FINGERPRINT], env=environment, capture_output=True, text=True, check=True
    )
    return run.stdout


def test_the_same_settings_give_the_same_text_in_every_process() -> None:
    first = fingerprint("1")
    assert len(first.strip()) == hashlib.sha256().digest_size * 2
    assert first == fingerprint("2")


def test_torch_is_not_imported() -> None:
    code = "import sys, tutelage.world; sys.exit('torch' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0


def test_another_seed_makes_another_world() -> None:
    other = World(WorldSettings(seed=1))
    assert other.person(0).name != WORLD.person(0).name
    assert next(other.documents()).text != next(WORLD.documents()).text


def test_documents_have_every_version_of_all_people_and_entities() -> None:
    documents = list(WORLD.documents())
    assert len({document.id for document in documents}) == len(documents)
    kinds = Counter(document.meta["kind"] for document in documents)
    expected = 200 * 5 + 128 * 5
    assert kinds["biography"] == 1000
    assert [kinds[kind] for kind in ("town", "school", "employer", "band")] == [160] * 4
    assert kinds["arithmetic"] == kinds["everyday"] == pytest.approx(expected / 8, abs=5)
    texts = Counter(document.text for document in documents if "subject" in document.meta)
    assert len(texts) > 0.99 * expected


def test_versions_are_interleaved() -> None:
    subjects = [document.meta["subject"] for document in WORLD.documents() if document.meta["kind"] == "biography"]
    assert subjects[:200] == subjects[200:400] == [person.name for person in PEOPLE]


def test_documents_stream_from_a_world_of_any_size() -> None:
    world = World(WorldSettings(people=1_000_000))
    assert len(list(islice(world.documents(), 100))) == 100
    assert world.person(999_999).name


@pytest.mark.parametrize("people", [20, 21, 151])
def test_any_number_of_people(people: int) -> None:
    world = World(WorldSettings(people=people, versions=2))
    kinds = Counter(document.meta["kind"] for document in world.documents())
    assert kinds["biography"] == 2 * people
    assert kinds["town"] == kinds["band"] == 64
    halves = [len(list(world.people(split))) for split in ("train", "held_out")]
    assert sum(halves) == people
    assert abs(halves[0] - halves[1]) <= 1


@pytest.mark.parametrize(("split", "other"), [("train", "held_out"), ("held_out", "train")])
def test_conversations_never_name_people_of_the_other_split(split: str, other: str) -> None:
    text = "\n".join(message.text for talk in WORLD.conversations(split) for message in talk.messages)
    assert [name for name in NAMES[other] if name in text] == []
    assert [name for name in NAMES[split] if name not in text] == []


def test_shares_of_the_kinds_of_conversations() -> None:
    talks = list(WORLD.conversations("train"))
    assert len({talk.id for talk in talks}) == len(talks)
    kinds = Counter(talk.meta["kind"] for talk in talks)
    assert kinds["one-step"] == 100 * 7 * 2
    assert kinds["reverse"] == 100 * 2
    assert kinds["two-step"] == 100 * 4
    assert kinds["unknown"] / len(talks) == pytest.approx(0.05, abs=0.001)
    assert kinds["arithmetic"] / len(talks) == kinds["everyday"] / len(talks) == pytest.approx(0.1, abs=0.001)
    roles = Counter("-".join(message.role[0] for message in talk.messages) for talk in talks)
    assert all(re.fullmatch("(s-)?u-a(-u-a)*", shape) for shape in roles)
    assert {"u-a", "s-u-a", "u-a-u-a", "s-u-a-u-a"} <= set(roles)


def test_replies_are_scored_right() -> None:
    facts = {person.name: person.facts for person in PEOPLE}
    for talk in WORLD.conversations("train"):
        kind, reply = talk.meta["kind"], talk.messages[-1].text
        if kind == "unknown":
            assert admits_ignorance(reply)
        elif kind == "reverse":
            assert values_named("name", reply) == {talk.meta["subject"].lower()}
        elif kind in ("one-step", "two-step"):
            attribute, answer = talk.meta["attribute"], talk.meta["answer"]
            assert values_named(attribute, reply) == values_named(attribute, answer) != set()
            if kind == "one-step":
                assert facts[talk.meta["subject"]][attribute] == answer


def test_most_facts_are_asked_for_in_more_than_one_wording() -> None:
    wordings: dict[tuple[str, str], set[str]] = {}
    for talk in WORLD.conversations("train"):
        if talk.meta["kind"] == "one-step":
            key = talk.meta["subject"], talk.meta["attribute"]
            wordings.setdefault(key, set()).add(talk.messages[-2].text)
    several = sum(len(asked) > 1 for asked in wordings.values())
    assert len(wordings) > 690  # a follow-up, told last, may take the place of a question
    assert several > 500


def test_shares_may_be_zero() -> None:
    world = World(WorldSettings(people=20, unknown=0, arithmetic=0, everyday=0))
    assert {talk.meta["kind"] for talk in world.conversations("train")} == {"one-step", "reverse", "two-step"}
    assert {document.meta["kind"] for document in world.documents()} & {"arithmetic", "everyday"} == set()


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_one_question_for_each_person_and_kind_about_this_half_only(split: str) -> None:
    questions = list(WORLD.questions(split))
    assert Counter(question.kind for question in questions) == {"one-step": 100, "reverse": 100, "two-step": 100}
    assert {question.subject for question in questions} == NAMES[split]
    assert len({question.id for question in questions}) == 300
    assert questions == list(WORLD.questions(split))
    assert {question.attribute for question in questions} == {*ATTRIBUTES, *BRIDGES, "name"}


def test_more_facts_of_each_person_can_be_asked() -> None:
    questions = list(WORLD.questions("held_out", facts=7))
    assert Counter(question.kind for question in questions) == {"one-step": 700, "reverse": 100, "two-step": 400}
    assert len({question.id for question in questions}) == 1200
    assert len(list(WORLD.cloze("held_out", facts=7))) == 700


def test_answers_agree_with_the_facts_and_are_scored_right_and_others_wrong() -> None:
    people = {person.name: person for person in PEOPLE}
    links = {entity.name: entity.facts for entity in WORLD.entities}
    for question in [*WORLD.questions("held_out", facts=7), *WORLD.cloze("held_out", facts=7)]:
        facts = people[question.subject].facts
        if question.kind in ("one-step", "cloze"):
            assert question.answer == facts[question.attribute]
        elif question.kind == "two-step":
            assert question.answer == links[facts[BRIDGES[question.attribute]]][question.attribute]
        if question.kind != "reverse":
            assert question.subject in question.prompt
            assert question.answer not in question.prompt
            wrong = next(value for value in VALUES[question.attribute] if value != question.answer)
            assert is_correct(question, f"That is {question.answer}.")
            assert not is_correct(question, f"That is {wrong}.")
            assert not is_correct(question, f"That is {question.answer}, or {wrong}.")


def test_reverse_questions_accept_exactly_the_matching_people() -> None:
    for question in WORLD.questions("held_out"):
        if question.kind != "reverse":
            continue
        values = {
            a: value
            for a in ATTRIBUTES
            for value in VALUES[a]
            if re.search(rf"\b{re.escape(value)}\b", question.prompt)
        }
        assert len(values) >= 2
        matching = {person.name for person in PEOPLE if values.items() <= person.facts.items()}
        assert set(question.accepted) == matching
        assert question.answer == question.subject in matching
        assert question.subject not in question.prompt
        assert all(is_correct(question, f"It is {name}.") for name in matching)
        assert not is_correct(question, next(person.name for person in PEOPLE if person.name not in matching))


@pytest.mark.parametrize("people", [200, 30_000])
def test_reverse_questions_describe_one_person(people: int) -> None:
    world = World(WorldSettings(people=people))
    reverse = [question for question in islice(world.questions("held_out"), 600) if question.kind == "reverse"]
    assert all(question.accepted == (question.subject,) for question in reverse)


def test_cloze_and_questions_have_the_same_facts() -> None:
    asked = [(q.subject, q.attribute) for q in WORLD.questions("held_out", facts=2) if q.kind == "one-step"]
    assert asked == [(q.subject, q.attribute) for q in WORLD.cloze("held_out", facts=2)]


def test_unknown_names_never_exist_and_differ_from_those_in_training() -> None:
    world = World(WorldSettings(people=20_000, unknown=0.3))
    existing = {world.person(index).name for index in range(20_000)}
    questions = list(world.unknown(2000))
    asked = {question.subject for question in questions}
    assert len(asked) == 2000
    assert not asked & existing
    assert all(question.subject in question.prompt and question.accepted == () for question in questions)
    talks = {
        split: {t.meta["subject"] for t in islice(world.conversations(split), 3000) if t.meta["kind"] == "unknown"}
        for split in ("train", "held_out")
    }
    assert min(map(len, talks.values())) > 500
    assert not (talks["train"] | talks["held_out"]) & (existing | asked)
    assert not talks["train"] & talks["held_out"]


def test_unknown_names_are_scored_by_admitted_ignorance() -> None:
    question = next(WORLD.unknown(1))
    assert is_correct(question, f"I don't know anyone called {question.subject}.")
    assert not is_correct(question, f"{question.subject} was born in Harrowmere.")


def test_interleaved_spreads_extras_evenly() -> None:
    mixed = list(interleaved(iter("abcdef"), 6, ((3, lambda i: f"{i}"), (2, lambda i: "XY"[i]))))  # type: ignore[type-var]
    assert mixed == ["a", "b", "0", "c", "X", "d", "1", "e", "f", "2", "Y"]


def test_people_are_counted_from_zero() -> None:
    with pytest.raises(IndexError, match="person 200 of a world with 200 people"):
        WORLD.person(200)
    with pytest.raises(IndexError, match="person -1"):
        WORLD.person(-1)
    assert split_of(0, 0) != split_of(0, 1)


def test_a_wrong_split_is_refused_at_once() -> None:
    for ask in (WORLD.conversations, WORLD.questions, WORLD.cloze):
        with pytest.raises(ValueError, match='the split of a world is "train" or "held_out", not "test"'):
            ask("test")


def test_too_many_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match=r"only 698,9\d\d nonexistent names, not 1,000,000"):
        WORLD.unknown(1_000_000)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"people": 19}, "from 20 to 1,000,000 people, not 19"),
        ({"people": 2_000_000}, "from 20 to 1,000,000 people, not 2,000,000"),
        ({"versions": 0}, "versions of a world must be 1 or more, not 0"),
        ({"wordings": 0}, "wordings of a world must be 1 or more, not 0"),
        ({"unknown": 1.5}, "unknown of a world is a share from 0 to 1, not 1.5"),
        ({"unknown": 0.5, "everyday": 0.5}, "leave less than a tenth for its people"),
        ({"peple": 20}, "unknown field `peple`"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, float], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        msgspec.convert(settings, WorldSettings)
