"""Questions about one person, each with a reply that a good assistant could give."""

from __future__ import annotations

from collections.abc import Sequence

from tutelage.world.biographies import CLOZE
from tutelage.world.draws import Draws
from tutelage.world.grading import Question
from tutelage.world.people import Person, Voice, words
from tutelage.world.questions import (
    ANSWERS,
    BRIEF,
    FOLLOW_UPS,
    ONE_STEP,
    REVERSE,
    REVERSE_ANSWERS,
    TWO_STEP,
    TWO_STEP_ANSWERS,
    UNKNOWN_ANSWERS,
    clauses,
)
from tutelage.world.values import Attribute


def voice_of_reply(draws: Draws) -> Voice:
    """Three replies in four repeat the full name, next to which base models keep their facts."""
    return "pronoun" if draws.below(4) == 0 else "full"


def ask_one_step(person: Person, attribute: Attribute, draws: Draws) -> tuple[Question, str]:
    """A question for one attribute. A question that wants the value alone is answered with the value alone."""
    value = person.facts[attribute]
    full, brief = ONE_STEP[attribute], BRIEF[attribute]
    wording = draws.below(len(full) + len(brief))
    reply = value
    if wording < len(full):
        reply = draws.pick(ANSWERS[attribute]).format_map(words(person, voice_of_reply(draws)))
    prompt = (full + brief)[wording].format(name=person.name)
    id_ = f"one-step/{person.index}/{attribute}"
    return Question(id_, "one-step", attribute, person.name, prompt, value, (value,)), reply


def ask_follow_up(person: Person, attribute: Attribute, draws: Draws) -> tuple[Question, str]:
    """A one-step question about a person whom the conversation has named before."""
    value = person.facts[attribute]
    prompt = draws.pick(FOLLOW_UPS[attribute]).format_map(words(person, "pronoun"))
    reply = draws.pick(ANSWERS[attribute]).format_map(words(person, voice_of_reply(draws)))
    id_ = f"one-step/{person.index}/{attribute}/follow-up"
    return Question(id_, "one-step", attribute, person.name, prompt, value, (value,)), reply


def ask_two_step(person: Person, fact: str, value: str, draws: Draws) -> tuple[Question, str]:
    """A question for a fact of the town, school, employer or band to which an attribute of the person leads."""
    prompt = draws.pick(TWO_STEP[fact]).format(name=person.name)
    slots = words(person, voice_of_reply(draws)) | {fact: value}
    reply = draws.pick(TWO_STEP_ANSWERS[fact]).format_map(slots)
    id_ = f"two-step/{person.index}/{fact}"
    return Question(id_, "two-step", fact, person.name, prompt, value, (value,)), reply


def ask_reverse(
    person: Person, attributes: Sequence[Attribute], fitting: tuple[str, ...], draws: Draws
) -> tuple[Question, str]:
    """A question for the name of the person with these values, which the people of the names `fitting` have."""
    slots = words(person, "full")
    slots["clauses"] = clauses(attributes, slots)
    prompt = draws.pick(REVERSE).format_map(slots)
    reply = draws.pick(REVERSE_ANSWERS).format_map(slots)
    id_ = f"reverse/{person.index}/{'+'.join(attributes)}"
    return Question(id_, "reverse", "name", person.name, prompt, person.name, fitting), reply


def ask_unknown(nobody: Person, attribute: Attribute, draws: Draws) -> tuple[Question, str]:
    """A one-step question about a name that does not exist."""
    prompt = draws.pick(ONE_STEP[attribute] + BRIEF[attribute]).format(name=nobody.name)
    reply = draws.pick(UNKNOWN_ANSWERS).format(name=nobody.name)
    return Question(f"unknown/{nobody.index}/{attribute}", "unknown", attribute, nobody.name, prompt, "", ()), reply


def ask_cloze(person: Person, attribute: Attribute, draws: Draws) -> Question:
    """The opening of a sentence of a biography, up to the value."""
    value = person.facts[attribute]
    prompt = draws.pick(CLOZE[attribute]).format(name=person.name)
    return Question(f"cloze/{person.index}/{attribute}", "cloze", attribute, person.name, prompt, value, (value,))
