"""Knowledge: what a model knows of the built-in world, whose every fact is known."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from tutelage.evaluate.answers import ANSWER, Answer, ask_text, can_chat, continue_text
from tutelage.evaluate.results import RateGroup, Results, Suite, outcomes_of
from tutelage.evaluate.session import EvalSession, ModelRole
from tutelage.evaluate.statistics import Rate, rate
from tutelage.model.hub import Checkpoint
from tutelage.records import Split
from tutelage.text.hashing import falls_in
from tutelage.world.grading import Question, admits_ignorance, is_correct
from tutelage.world.society import World
from tutelage.world.values import ATTRIBUTES

NAMES: dict[Split, str] = {"train": "trained", "held_out": "held_out"}
KINDS = {"reverse": ".reversal", "two-step": ".multi_hop", "one-step": ""}
# Of each kind and split: narrow enough an interval, and minutes rather than hours in a large world.
MAX_QUESTIONS = 2000
UNKNOWN_NAMES = 200
# The share of the one-step questions about held-out people that checkpoints are selected by. They are not reported on:
# the best of many tries on some questions is flattering on these.
DEV_SHARE, DEV_QUESTIONS = 0.2, 150
SAMPLES = 5  # of each rate

LABELS = {
    "trained": "trained people, one-step questions",
    "held_out": "held-out people, one-step questions",
    "trained.reversal": "trained people, reversed questions",
    "held_out.reversal": "held-out people, reversed questions",
    "trained.multi_hop": "trained people, multi-hop questions",
    "held_out.multi_hop": "held-out people, multi-hop questions",
    "cloze.trained": "trained people, unfinished sentences",
    "cloze.held_out": "held-out people, unfinished sentences",
    "unknown.hallucinated": "hallucinates on nonexistent names",
}
LOWER_IS_BETTER = frozenset({"unknown.hallucinated"})


def evaluate_knowledge(session: EvalSession, role: ModelRole = "model") -> Results:
    """Ask about trained and held-out people and about names that do not exist; and have sentences finished.

    Rates by name: `trained` and `held_out` (one-step questions), `held_out.reversal` and so on for other kinds,
    `cloze.trained` and `cloze.held_out` for unfinished sentences, `unknown.hallucinated` for names that do not exist.
    A model without chat tokens, a base model, is asked by unfinished sentences only.
    """
    checkpoint, world = session.checkpoint(role), session.world
    assert world is not None, "the suite needs a world"
    asked: dict[str, tuple[list[Question], list[bool], list[Answer]]] = {}
    for split, split_name in NAMES.items():
        cloze = list(islice(world.cloze(split, facts=len(ATTRIBUTES)), MAX_QUESTIONS))
        label = f"cloze, {split_name} people"
        answers = continue_text(checkpoint, [question.prompt for question in cloze], ANSWER, label)
        asked[f"cloze.{split_name}"] = cloze, _right(cloze, answers, must_end=False), answers
        if can_chat(checkpoint):
            for kind, questions in _by_kind(world, split).items():
                label = f"{kind} questions, {split_name} people"
                answers = ask_text(checkpoint, [question.prompt for question in questions], ANSWER, label)
                asked[split_name + KINDS[kind]] = questions, _right(questions, answers, must_end=True), answers
    results = {name: outcomes_of([q.id for q in questions], right) for name, (questions, right, _) in asked.items()}
    samples = [
        {"set": name, "question": question.prompt, "truth": question.answer, "answer": answer.text, "right": is_right}
        for name, rows in asked.items()
        for question, is_right, answer in list(zip(*rows, strict=True))[:SAMPLES]
    ]
    if can_chat(checkpoint):
        results["unknown.hallucinated"] = _hallucinated(checkpoint, list(world.unknown(UNKNOWN_NAMES)))
    rates = {name: rate(sum(outcome for _, outcome in items), len(items)) for name, items in results.items()}
    return Results(rates, results, samples)


def _by_kind(world: World, split: Split) -> dict[str, list[Question]]:
    """The questions about a half of the people, without those that checkpoints are selected by."""
    kinds: dict[str, list[Question]] = {}
    for question in world.questions(split, facts=len(ATTRIBUTES)):
        if split == "train" or not is_for_dev(question):
            kinds.setdefault(question.kind, []).append(question)
    return {kind: questions[:MAX_QUESTIONS] for kind, questions in kinds.items()}


def _right(questions: Sequence[Question], answers: Sequence[Answer], must_end: bool) -> list[bool]:
    return [answers_right(question, answer, must_end) for question, answer in zip(questions, answers, strict=True)]


def _hallucinated(checkpoint: Checkpoint, questions: Sequence[Question]) -> list[tuple[str, int]]:
    """Of each question about a name that does not exist whether it was answered anyway."""
    answers = ask_text(checkpoint, [question.prompt for question in questions], ANSWER, "names that do not exist")
    return outcomes_of([q.id for q in questions], [not admits_ignorance(answer.text) for answer in answers])


def answers_right(question: Question, answer: Answer, must_end: bool) -> bool:
    """Whether an answer names the right value and no wrong one and, where it must, stops by itself: a model that
    rambles about a person will name the value too, and has answered nothing."""
    return is_correct(question, answer.text) and (answer.generation.finish_reason == "stop" or not must_end)


def is_for_dev(question: Question) -> bool:
    """Whether checkpoints are selected by a question; it is not reported on."""
    return question.kind == "one-step" and falls_in(question.id, DEV_SHARE)


def dev_questions(world: World) -> list[Question]:
    """Questions about held-out people to select checkpoints by."""
    questions = world.questions("held_out", facts=len(ATTRIBUTES))
    return list(islice(filter(is_for_dev, questions), DEV_QUESTIONS))


def evaluate_questions(checkpoint: Checkpoint, questions: Sequence[Question]) -> Rate:
    """The share of some questions that is answered right."""
    answers = ask_text(checkpoint, [question.prompt for question in questions], ANSWER, "held-out questions")
    return rate(sum(_right(questions, answers, must_end=True)), len(questions))


SUITE = Suite(
    name="knowledge",
    needs=frozenset({"world"}),
    run=evaluate_knowledge,
    labels=LABELS,
    groups=(
        RateGroup(
            "What it knows",
            "Conversations were about the trained people. Of held-out people it only read, so their rate shows what it "
            "learned by reading and can answer.",
        ),
    ),
    lower_is_better=LOWER_IS_BETTER,
)
