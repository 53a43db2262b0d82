"""Questions for facts of a person, and answers of mixed quality: true or false, complete or not, brief or padded."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle, islice

from tutelage.records import Conversation, Split
from tutelage.world.keyed_random import KeyedRandom
from tutelage.world.people import words
from tutelage.world.person_questions import voice_of_reply
from tutelage.world.society import World, conversation_of_turns
from tutelage.world.utility import CLOSINGS, OPENINGS, AnswerTask, Rule
from tutelage.world.values import ATTRIBUTES, VALUES, Attribute, with_article
from tutelage.world.wordings import ANSWERS, BRIEF, ONE_STEP, UNKNOWN_ANSWERS

NOUNS: dict[Attribute, str] = {
    "birthplace": "birthplace",
    "birth_year": "year of birth",
    "school": "old school",
    "employer": "employer",
    "role": "job",
    "instrument": "instrument",
    "band": "band",
}
TWO_FACTS = (
    "What are the {first} and the {second} of {name}?",
    "Tell me the {first} and the {second} of {name}.",
    "I would like to know the {first} and the {second} of {name}.",
    "Do you know the {first} and the {second} of {name}?",
)
PADDING = (
    "There is much more to say about this, but it is not needed here.",
    "It took me some time to find this in the many pages that I have read.",
    "People often ask me about such things, and I like to answer them in full.",
    "You will see that the matter is not as difficult as it may seem.",
)
# Of 20 draws each: how a fact is stated; how many polite phrases and padding sentences an answer has.
STATED = ("true",) * 12 + ("false",) * 6 + ("left out",) * 2
POLITE_PHRASES = (0,) * 8 + (1,) * 6 + (2,) * 4 + (3,) * 2
PADDING_SENTENCES = (0,) * 11 + (1,) * 6 + (2,) * 3


def tasks(world: World, split: Split, rule: Rule, count: int, purpose: str) -> Iterator[AnswerTask]:
    """`count` questions about the people of a split, in turn. Another `purpose` asks other questions."""
    people = enumerate(islice(cycle(world.people(split)), count))
    for number, person in people:
        rng = KeyedRandom(world.settings.seed, "task", purpose, split, rule, number)
        attributes = tuple(rng.shuffled(ATTRIBUTES)[: 1 if rule == "brief" else 1 + rng.randbelow(2)])
        if rule == "brief":
            wording = rng.choice(BRIEF[attributes[0]])
        else:
            wording = rng.choice(ONE_STEP[attributes[0]] if len(attributes) == 1 else TWO_FACTS)
        nouns = {"first": NOUNS[attributes[0]], "second": NOUNS[attributes[-1]]}
        id_ = f"{purpose}/{split}/{rule}/{number}"
        yield AnswerTask(id_, wording.format(name=person.name, **nouns), person, attributes, rule)


def draw_answer(task: AnswerTask, rng: KeyedRandom) -> str:
    """An answer of random quality."""
    facts = [text for attribute in task.attributes if (text := _fact(task, attribute, rng))]
    sentences = facts or [rng.choice(UNKNOWN_ANSWERS).format(name=task.person.name)]
    polite = rng.choice(POLITE_PHRASES)
    opening = rng.shuffled(OPENINGS)[: (polite + rng.randbelow(2)) // 2]
    padding = rng.shuffled(PADDING)[: rng.choice(PADDING_SENTENCES)]
    closing = rng.shuffled(CLOSINGS)[: polite - len(opening)]
    return " ".join([*opening, *sentences, *padding, *closing])


def _fact(task: AnswerTask, attribute: Attribute, rng: KeyedRandom) -> str:
    """A sentence that states a fact, true or false, or under the rule "brief" now and then its value alone; "" where
    the answer leaves it out."""
    stated = rng.choice(STATED)
    if stated == "left out":
        return ""
    value = task.person.facts[attribute]
    if stated == "false":
        value = rng.choice([other for other in VALUES[attribute] if other != value])
    if task.rule == "brief" and rng.randbelow(2):
        return value
    slots = words(task.person, voice_of_reply(rng)) | {str(attribute): value}
    if attribute == "role":
        slots["a_role"] = with_article(value)
    return rng.choice(ANSWERS[attribute]).format_map(slots)


def mixed_conversations(world: World, split: Split, rule: Rule, count: int) -> Iterator[Conversation]:
    """Questions with one answer of random quality each: what a model imitates before it learns preferences."""
    for number, task in enumerate(tasks(world, split, rule, count, "answers")):
        answer = draw_answer(task, KeyedRandom(world.settings.seed, "answer", split, rule, number))
        yield conversation_of_turns(task.id, "", (task.prompt, answer), {"kind": "mixed answer"})
