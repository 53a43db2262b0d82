"""The short evaluation that runs again and again during training and selects the weights that are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tutelage.evaluate.answers import ANSWER
from tutelage.evaluate.statistics import Rate
from tutelage.evaluate.suites.format import askable, evaluate_format, vocabulary_rate
from tutelage.evaluate.suites.knowledge import evaluate_questions
from tutelage.model.hub import Checkpoint
from tutelage.records import Conversation
from tutelage.world.grading import Question


@dataclass(frozen=True)
class DevEval:
    """Prompts and questions that are never reported on at the end."""

    prompts: Sequence[Conversation] = ()
    questions: Sequence[Question] = ()
    known_words: frozenset[str] = frozenset()


def run_dev_eval(checkpoint: Checkpoint, dev: DevEval) -> dict[str, Any]:
    """The rates of a dev eval by name, and their mean as `score`; nothing where there is nothing to ask."""
    figures: dict[str, Any] = {}
    if prompts := askable(checkpoint, dev.prompts):
        result = evaluate_format(checkpoint, prompts, ANSWER)
        figures["format"] = asdict(result.rate("compliant"))
        if dev.known_words:  # no words are no known ones, or a model that answers in dots could not be beaten
            found = vocabulary_rate([answer.text for answer in result.answers], dev.known_words)
            figures["in_vocabulary"] = asdict(found or Rate(0.0, 0.0, 1.0, 0))
    if dev.questions:
        figures["held_out_questions"] = asdict(evaluate_questions(checkpoint, dev.questions))
    if figures:
        figures["score"] = sum(rate["rate"] for rate in figures.values()) / len(figures)
    return figures
