"""Whether a model follows a change of subject: the same questions, first and as the third turn of a conversation."""

from __future__ import annotations

from collections.abc import Sequence

from tutelage.evaluate.answers import ANSWER, ask
from tutelage.evaluate.results import RateGroup, Results, Suite, outcomes_of
from tutelage.evaluate.session import EvalSession
from tutelage.evaluate.statistics import rate
from tutelage.evaluate.suites.knowing import known_questions
from tutelage.evaluate.suites.knowledge import answers_right
from tutelage.records import Conversation, Message, message
from tutelage.world.grading import Question
from tutelage.world.keyed_random import KeyedRandom
from tutelage.world.person_questions import ask_one_step
from tutelage.world.society import World
from tutelage.world.values import ATTRIBUTES

BEFORE = 2  # exchanges about other people
SAMPLES = 10


def run(session: EvalSession) -> Results:
    """The share of right answers in the first turn and in the third; the exchanges before it are about trained people,
    and answered right."""
    world, checkpoint = session.world, session.checkpoint("model")
    assert world is not None, "the suite needs a world"
    questions = known_questions(world)
    first = [Conversation((message("user", question.prompt),)) for question in questions]
    third = [conversation(world, question, number) for number, question in enumerate(questions)]
    outcomes, samples = {}, []
    for name, asked in {"first": first, "third": third}.items():
        answers = ask(checkpoint, asked, ANSWER, f"{name} turn")
        right = [answers_right(q, answer, must_end=True) for q, answer in zip(questions, answers, strict=True)]
        outcomes[name] = outcomes_of([question.id for question in questions], right)
        samples += [
            {
                "set": f"{name} turn",
                "question": question.prompt,
                "truth": question.answer,
                "answer": answer.text,
                "right": is_right,
            }
            for question, answer, is_right in list(zip(questions, answers, right, strict=True))[:SAMPLES]
        ]
    rates = {name: rate(sum(outcome for _, outcome in items), len(items)) for name, items in outcomes.items()}
    return Results(rates, outcomes, samples)


def conversation(world: World, question: Question, number: int) -> Conversation:
    """A conversation whose last question is the given one, after BEFORE exchanges about trained people."""
    return Conversation((*_exchanges(world, number), message("user", question.prompt)), question.id)


def _exchanges(world: World, number: int) -> Sequence[Message]:
    people = list(world.people("train"))
    turns: list[Message] = []
    for place in range(BEFORE):
        rng = KeyedRandom(world.settings.seed, "turns", number, place)
        question, reply = ask_one_step(rng.choice(people), rng.choice(ATTRIBUTES), rng)
        turns += [message("user", question.prompt), message("assistant", reply)]
    return turns


SUITE = Suite(
    name="turns",
    needs=frozenset({"chat", "world"}),
    run=run,
    labels={"first": "right in the first turn", "third": "right in the third turn, after other subjects"},
    groups=(RateGroup("Changes of subject", "The same questions about people of whom the model has only read."),),
)
