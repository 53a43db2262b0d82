"""What a model knows of the built-in world, of which every fact is known."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate.asking import Answer, ask_text, can_chat, continue_text
from tutelage.evaluate.statistics import Rate, rate
from tutelage.model.hub import Checkpoint
from tutelage.world.grading import Question, admits_ignorance, is_correct
from tutelage.world.society import World
from tutelage.world.values import ATTRIBUTES

SPLITS: tuple[Literal["train", "held_out"], ...] = ("train", "held_out")
NAMES = {"train": "trained", "held_out": "held_out"}
MAX_QUESTIONS = (
    2000  # of each kind and split: narrow enough an interval, and minutes rather than hours in a large world
)
UNKNOWN_NAMES = 200


@dataclass(frozen=True)
class KnowledgeResult:
    """Rates by name: `trained` and `held_out` (one-step questions), `held_out.reverse` and so on for other kinds,
    `cloze.trained` and `cloze.held_out` for unfinished sentences, `unknown.made_up` for names that do not exist."""

    rates: dict[str, Rate]
    samples: list[dict[str, str]]


def evaluate_knowledge(checkpoint: Checkpoint, world: World, settings: SamplingSettings) -> KnowledgeResult:
    """Ask about trained and held-out people and about names that do not exist; and have sentences finished.

    A model without chat tokens, a base model, is asked by unfinished sentences only.
    """
    rates: dict[str, Rate] = {}
    samples: list[dict[str, str]] = []

    def grade(name: str, questions: list[Question], answers: list[Answer]) -> None:
        right = [is_correct(q, a.text) for q, a in zip(questions, answers, strict=True)]
        rates[name] = rate(sum(right), len(right))
        for question, answer, is_right in list(zip(questions, answers, right, strict=True))[:5]:
            verdict = "right" if is_right else "wrong"
            shown = {"set": name, "question": question.prompt, "truth": question.answer, "answer": answer.text}
            samples.append(shown | {"verdict": verdict})

    def each_kind(questions: Iterable[Question]) -> dict[str, list[Question]]:
        kinds: dict[str, list[Question]] = {}
        for question in questions:
            kinds.setdefault(question.kind, []).append(question)
        return kinds

    for split in SPLITS:
        cloze = list(islice(world.cloze(split, facts=len(ATTRIBUTES)), MAX_QUESTIONS))
        answers = continue_text(checkpoint, [q.prompt for q in cloze], settings, f"cloze, {NAMES[split]} people")
        grade(f"cloze.{NAMES[split]}", cloze, answers)
        if not can_chat(checkpoint):
            continue
        for kind, questions in each_kind(world.questions(split, facts=len(ATTRIBUTES))).items():
            asked = questions[:MAX_QUESTIONS]
            label = f"{kind} questions, {NAMES[split]} people"
            name = NAMES[split] if kind == "one-step" else f"{NAMES[split]}.{kind.replace('-', '_')}"
            grade(name, asked, ask_text(checkpoint, [q.prompt for q in asked], settings, label))
    if can_chat(checkpoint):
        unknown = list(world.unknown(UNKNOWN_NAMES))
        answers = ask_text(checkpoint, [q.prompt for q in unknown], settings, "names that do not exist")
        made_up = sum(not admits_ignorance(answer.text) for answer in answers)
        rates["unknown.made_up"] = rate(made_up, len(answers))
    return KnowledgeResult(rates, samples)
