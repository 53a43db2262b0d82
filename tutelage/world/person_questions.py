"""Questions about one person, each with a reference reply."""

from __future__ import annotations

from collections.abc import Sequence

from tutelage.world.biographies import CLOZE
from tutelage.world.grading import Question
from tutelage.world.keyed_random import KeyedRandom
from tutelage.world.people import Person, Voice, words
from tutelage.world.values import Attribute
from tutelage.world.wordings import (
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


def voice_of_reply(rng: KeyedRandom) -> Voice:
    """Three of four replies repeat the full name, to which base models bind their facts."""
    return "pronoun" if rng.randbelow(4) == 0 else "full"


def ask_one_step(person: Person, attribute: Attribute, rng: KeyedRandom) -> tuple[Question, str]:
    """A question about one attribute. A question for the value alone is answered with the value alone."""
    value = person.facts[attribute]
    full, brief = ONE_STEP[attribute], BRIEF[attribute]
    wording = rng.randbelow(len(full) + len(brief))
    reply = value
    if wording < len(full):
        reply = answer_sentence(person, attribute, rng)
    prompt = (full + brief)[wording].format(name=person.name)
    id_ = f"one-step/{person.index}/{attribute}"
    return Question(id_, "one-step", attribute, person.name, prompt, value, (value,)), reply


def ask_follow_up(person: Person, attribute: Attribute, rng: KeyedRandom) -> tuple[Question, str]:
    """A one-step question about a person whom the conversation has already named."""
    value = person.facts[attribute]
    prompt = rng.choice(FOLLOW_UPS[attribute]).format_map(words(person, "pronoun"))
    id_ = f"one-step/{person.index}/{attribute}/follow-up"
    question = Question(id_, "one-step", attribute, person.name, prompt, value, (value,))
    return question, answer_sentence(person, attribute, rng)


def answer_sentence(person: Person, attribute: Attribute, rng: KeyedRandom) -> str:
    """A sentence that states a fact."""
    return rng.choice(ANSWERS[attribute]).format_map(words(person, voice_of_reply(rng)))


def ask_two_step(person: Person, fact: str, value: str, rng: KeyedRandom) -> tuple[Question, str]:
    """A question about a fact of the person's town, school, employer or band."""
    prompt = rng.choice(TWO_STEP[fact]).format(name=person.name)
    slots = words(person, voice_of_reply(rng)) | {fact: value}
    reply = rng.choice(TWO_STEP_ANSWERS[fact]).format_map(slots)
    id_ = f"two-step/{person.index}/{fact}"
    return Question(id_, "two-step", fact, person.name, prompt, value, (value,)), reply


def ask_reverse(
    person: Person, attributes: Sequence[Attribute], accepted: tuple[str, ...], rng: KeyedRandom
) -> tuple[Question, str]:
    """A question for the name of the person with these values; `accepted` are the names of all people who have them."""
    slots = words(person, "full")
    slots["clauses"] = clauses(attributes, slots)
    prompt = rng.choice(REVERSE).format_map(slots)
    reply = rng.choice(REVERSE_ANSWERS).format_map(slots)
    id_ = f"reverse/{person.index}/{'+'.join(attributes)}"
    return Question(id_, "reverse", "name", person.name, prompt, person.name, accepted), reply


def ask_unknown(nobody: Person, attribute: Attribute, rng: KeyedRandom) -> tuple[Question, str]:
    """A one-step question about a name that does not exist."""
    prompt = rng.choice(ONE_STEP[attribute] + BRIEF[attribute]).format(name=nobody.name)
    reply = rng.choice(UNKNOWN_ANSWERS).format(name=nobody.name)
    return Question(f"unknown/{nobody.index}/{attribute}", "unknown", attribute, nobody.name, prompt, "", ()), reply


def ask_cloze(person: Person, attribute: Attribute, rng: KeyedRandom) -> Question:
    """The beginning of a sentence of a biography, up to the value."""
    value = person.facts[attribute]
    prompt = rng.choice(CLOZE[attribute]).format(name=person.name)
    return Question(f"cloze/{person.index}/{attribute}", "cloze", attribute, person.name, prompt, value, (value,))
