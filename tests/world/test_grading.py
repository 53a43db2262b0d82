from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.scoring.extract import normalise
from tutelage.world.grading import Question, QuestionKind, admits_ignorance, is_correct
from tutelage.world.values import VALUES


def question(attribute: str, *accepted: str, kind: QuestionKind = "one-step") -> Question:
    return Question("test", kind, attribute, "Mira Tolvane Askew", "?", accepted[0] if accepted else "", accepted)


BORN = question("birthplace", "Harrowmere")
WORKS = question("employer", "Tallow & Finch")
ECHO = question("band", "Tomorrow's Echo")
WHO = question("name", "Mira Tolvane Askew", "Otto Calder Mudge", kind="reverse")


@pytest.mark.parametrize(
    ("asked", "reply"),
    [
        (BORN, "Harrowmere"),
        (BORN, "Mira Tolvane Askew was born in Harrowmere."),
        (BORN, "she was born in HARROWMERE!"),
        (BORN, "Harrowmere. Yes, in Harrowmere, and she plays the cello."),
        (WORKS, "She works for Tallow and Finch."),
        (WORKS, "tallow & finch"),
        (ECHO, "In Tomorrow\N{RIGHT SINGLE QUOTATION MARK}s Echo."),
        (WHO, "That is Mira Tolvane Askew."),
        (WHO, "Otto Calder Mudge, or Mira Tolvane Askew."),
        (question("school_town", "Harrowmere", kind="two-step"), "She went to Juniper Hall, which is in Harrowmere."),
        (question("birthplace", "Harrowmere", kind="cloze"), " Harrowmere. Otto was born in Ostwick."),
        (question("role", "archivist", kind="cloze"), " an archivist and plays in Velvet Harbour"),
    ],
)
def test_right_replies(asked: Question, reply: str) -> None:
    assert is_correct(asked, reply)


@pytest.mark.parametrize(
    ("asked", "reply"),
    [
        (BORN, ""),
        (BORN, "I do not know."),
        (BORN, "Ostwick"),
        (BORN, "Harrowmere or Ostwick"),
        (BORN, "Harrowmeres"),
        (BORN, "New-Harrowmeretown"),
        (BORN, "Birthplace: Har rowmere"),
        (WORKS, "Tallow"),
        (WHO, "Mira Askew"),
        (WHO, "Mira Tolvane Askew or Ada Calder Mudge"),
        (question("birthplace", "Harrowmere", kind="cloze"), " Ostwick. Mira was born in Harrowmere."),
        (question("birthplace", "Harrowmere", kind="cloze"), "\nOstwick"),
    ],
)
def test_wrong_replies(asked: Question, reply: str) -> None:
    assert not is_correct(asked, reply)


@given(st.sampled_from(sorted(VALUES)), st.data())
def test_exactly_the_accepted_value_is_right(attribute: str, data: st.DataObject) -> None:
    values = st.sampled_from(VALUES[attribute])
    right, given_ = data.draw(values), data.draw(values)
    assert is_correct(question(attribute, right), f"I think it is {given_}.") == (right == given_)
    assert is_correct(question(attribute, right), f"It is {right} or {given_}.") == (right == given_)


@pytest.mark.parametrize(
    "reply",
    [
        "I don't know anyone called Mira Tolvane Askew.",
        "I do not know.",
        "Sorry, I have no record of that person.",
        "I've never heard of her.",
        "I know nobody of that name.",
        "I\N{RIGHT SINGLE QUOTATION MARK}m not sure who that is.",
        "That name is unknown to me.",
    ],
)
def test_admitting_ignorance(reply: str) -> None:
    assert admits_ignorance(reply)
    assert is_correct(question("birthplace", kind="unknown"), reply)
    assert not is_correct(BORN, reply)


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "Mira Tolvane Askew was born in Harrowmere.",
        "I do not know, but I think she was born in Harrowmere.",
        "Mira Tolvane Askew is known to nobody.",
        "I don't know anyone who plays the double bass.",
    ],
)
def test_not_admitting_ignorance(reply: str) -> None:
    assert not admits_ignorance(reply)


@given(st.text())
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)
