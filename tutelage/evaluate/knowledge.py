"""What a model knows of the built-in world, of which every fact is known."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from tutelage.batching.sources import falls_in
from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate.asking import Answer, ask_text, can_chat, continue_text
from tutelage.evaluate.statistics import Rate, rate
from tutelage.model.hub import Checkpoint
from tutelage.records import Split
from tutelage.world.grading import Question, admits_ignorance, is_correct
from tutelage.world.society import World
from tutelage.world.values import ATTRIBUTES

SPLITS: tuple[Split, ...] = ("train", "held_out")
NAMES = {"train": "trained", "held_out": "held_out"}
# Of each kind and split: narrow enough an interval, and minutes rather than hours in a large world.
MAX_QUESTIONS = 2000
UNKNOWN_NAMES = 200
# The share of the one-step questions about held-out people that checkpoints are chosen by. They are not reported on:
# the best of many tries on some questions flatters itself on those.
TRIAL_SHARE, TRIAL_QUESTIONS = 0.2, 150


@dataclass(frozen=True)
class KnowledgeResult:
    """Rates by name: `trained` and `held_out` (one-step questions), `held_out.reverse` and so on for other kinds,
    `cloze.trained` and `cloze.held_out` for unfinished sentences, `unknown.made_up` for names that do not exist.
    `outcomes` holds, for each of them, every question's id and whether it was answered right (1) or not (0)."""

    rates: dict[str, Rate]
    samples: list[dict[str, str]]
    outcomes: dict[str, list[tuple[str, int]]]


def evaluate_knowledge(checkpoint: Checkpoint, world: World, settings: SamplingSettings) -> KnowledgeResult:
    """Ask about trained and held-out people and about names that do not exist; and have sentences finished.

    A model without chat tokens, a base model, is asked by unfinished sentences only.
    """
    rates: dict[str, Rate] = {}
    samples: list[dict[str, str]] = []
    outcomes: dict[str, list[tuple[str, int]]] = {}

    def grade(name: str, questions: list[Question], answers: list[Answer], must_end: bool) -> None:
        right = [answers_right(q, a, must_end) for q, a in zip(questions, answers, strict=True)]
        rates[name] = rate(sum(right), len(right))
        outcomes[name] = [(q.id, int(is_right)) for q, is_right in zip(questions, right, strict=True)]
        for question, answer, is_right in list(zip(questions, answers, right, strict=True))[:5]:
            verdict = "right" if is_right else "wrong"
            shown = {"set": name, "question": question.prompt, "truth": question.answer, "answer": answer.text}
            samples.append(shown | {"verdict": verdict})

    def each_kind(split: Split) -> dict[str, list[Question]]:
        kinds: dict[str, list[Question]] = {}
        for question in world.questions(split, facts=len(ATTRIBUTES)):
            if split == "train" or not _is_for_trials(question):
                kinds.setdefault(question.kind, []).append(question)
        return kinds

    for split in SPLITS:
        cloze = list(islice(world.cloze(split, facts=len(ATTRIBUTES)), MAX_QUESTIONS))
        answers = continue_text(checkpoint, [q.prompt for q in cloze], settings, f"cloze, {NAMES[split]} people")
        grade(f"cloze.{NAMES[split]}", cloze, answers, must_end=False)
        if not can_chat(checkpoint):
            continue
        for kind, questions in each_kind(split).items():
            asked = questions[:MAX_QUESTIONS]
            label = f"{kind} questions, {NAMES[split]} people"
            name = NAMES[split] if kind == "one-step" else f"{NAMES[split]}.{kind.replace('-', '_')}"
            grade(name, asked, ask_text(checkpoint, [q.prompt for q in asked], settings, label), must_end=True)
    if can_chat(checkpoint):
        unknown = list(world.unknown(UNKNOWN_NAMES))
        answers = ask_text(checkpoint, [q.prompt for q in unknown], settings, "names that do not exist")
        made_up = [not admits_ignorance(answer.text) for answer in answers]
        rates["unknown.made_up"] = rate(sum(made_up), len(answers))
        outcomes["unknown.made_up"] = [(q.id, int(is_so)) for q, is_so in zip(unknown, made_up, strict=True)]
    return KnowledgeResult(rates, samples, outcomes)


def answers_right(question: Question, answer: Answer, must_end: bool) -> bool:
    """Whether an answer names the right value and no wrong one and, where it must, ends by itself: a model that goes on
    and on with text about a person will name the value too, and has answered nothing."""
    return is_correct(question, answer.text) and (answer.generation.finish_reason == "stop" or not must_end)


def _is_for_trials(question: Question) -> bool:
    return question.kind == "one-step" and falls_in(question.id, TRIAL_SHARE)


def trial_questions(world: World) -> list[Question]:
    """Questions about held-out people to choose checkpoints by."""
    questions = world.questions("held_out", facts=len(ATTRIBUTES))
    return list(islice(filter(_is_for_trials, questions), TRIAL_QUESTIONS))


def evaluate_questions(checkpoint: Checkpoint, questions: list[Question], settings: SamplingSettings) -> Rate:
    """The share of some questions that is answered right."""
    answers = ask_text(checkpoint, [q.prompt for q in questions], settings, "held-out questions")
    right = [answers_right(q, a, must_end=True) for q, a in zip(questions, answers, strict=True)]
    return rate(sum(right), len(right))
