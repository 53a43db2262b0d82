"""Questions about the people of the world as prompts with gold answers, and the verifier of answers to them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Literal

from tutelage.records import Split, Task, message
from tutelage.scoring import Gold, Score
from tutelage.scoring.contains import contains
from tutelage.scoring.score import gold_texts
from tutelage.world.grading import QuestionKind
from tutelage.world.society import World
from tutelage.world.values import VALUES

Hops = Literal["one-step", "two-step"]
SPLITS: tuple[Split, ...] = ("train", "held_out")


def question_tasks(world: World, hops: Hops, facts: int) -> Iterator[Task]:
    """For each person up to `facts` questions of one kind. "two-step" asks for a fact of the person's school, employer,
    birthplace or band, so that two facts must be put together. Half of the people are held out.

    No conversation has these questions about people who are held out, though documents have their facts.
    """
    kind: QuestionKind = hops
    for split in SPLITS:
        for question in world.questions(split, facts):
            if question.kind == kind:
                yield Task((message("user", question.prompt),), question.accepted, question.id, split=split)


def names_value(answer: str, gold: Gold) -> Score:
    """The verifier of these tasks: the answer names a right value, and no other value of the same kind. Its name in
    recipes: "tutelage.world.tasks:names_value"."""
    others = {value for text in gold_texts(gold) for value in _like(text)}
    return contains(answer, gold, others=sorted(others))


@cache
def _like(value: str) -> frozenset[str]:
    """All values of the attributes that have this one."""
    return frozenset(other for values in VALUES.values() if value in values for other in values)
