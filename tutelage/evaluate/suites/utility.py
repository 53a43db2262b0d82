"""Utility: what a model's answers are truly worth in the built-in world, beside what a flawed labeller thinks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate.answers import Answer, ask_text, can_chat
from tutelage.evaluate.results import RateGroup, Results, Suite, outcomes_of
from tutelage.evaluate.session import EvalSession, ModelRole
from tutelage.evaluate.statistics import mean_interval, rate
from tutelage.world.preferences import KnownUtility
from tutelage.world.utility import AnswerTask, Rule, measure

PROMPTS = 150  # of each set
SAMPLES = 5  # of each set
# The mean over a policy's own samples, and not of its likeliest answer, is what preferences and rewards raise.
SAMPLED = SamplingSettings(temperature=1.0, max_tokens=80)


def task_sets(known: KnownUtility, count: int) -> dict[str, list[AnswerTask]]:
    """Questions about people of the preferences, about others, and under a rule that no preference followed."""
    split, rule = known.settings.split, known.settings.rule
    sets = {
        "trained": known.tasks(split, rule, count),
        "held_out": known.tasks("held_out" if split == "train" else "train", rule, count),
    }
    changed: Rule = "brief" if rule == "standard" else "standard"
    return sets | {"rule_changed": known.tasks(split, changed, count)}


def run(session: EvalSession) -> Results:
    """The mean true utility and proxy of the model's answers; and how much they differ from those of the model that it
    was trained from, question by question."""
    known = session.known_utility
    assert known is not None, "the suite needs preferences of the built-in world"
    sets = task_sets(known, PROMPTS)
    answers = {name: _answers(session, "model", tasks, name) for name, tasks in sets.items()}
    parent = "parent" in session.folders and can_chat(session.checkpoint("parent"))
    before = {name: _answers(session, "parent", tasks, name) for name, tasks in sets.items()} if parent else {}
    rates, outcomes, samples = {}, {}, []
    figures: dict[str, dict[str, Any]] = {}
    for name, tasks in sets.items():
        parts = [measure(task, answer.text) for task, answer in zip(tasks, answers[name], strict=True)]
        right = [part.truth == part.completeness == 1 for part in parts]
        rates[f"{name}.right"] = rate(sum(right), len(right))
        outcomes[f"{name}.right"] = outcomes_of([task.id for task in tasks], right)
        columns = utility_columns(known, tasks, answers[name])
        figures[name] = {label: mean_interval(values) for label, values in columns.items()}
        if parent:
            old = utility_columns(known, tasks, before[name])
            figures[name]["gain"] = {label: mean_interval(columns[label] - old[label]) for label in ("true", "proxy")}
        samples += _samples(name, tasks, answers[name], columns)
    return Results(rates, outcomes, samples, figures)


def _answers(session: EvalSession, role: ModelRole, tasks: Sequence[AnswerTask], name: str) -> list[Answer]:
    prompts = [task.prompt for task in tasks]
    return ask_text(session.checkpoint(role), prompts, SAMPLED, f"utility, {name}, {role}")


def utility_columns(
    known: KnownUtility, tasks: Sequence[AnswerTask], answers: Sequence[Answer]
) -> dict[str, np.ndarray]:
    """The true utility, the proxy and each part of every answer, and whether it ended by itself; [answers] each."""
    texts = [answer.text for answer in answers]
    columns: dict[str, list[float]] = {
        "true": [known.true(task, text) for task, text in zip(tasks, texts, strict=True)],
        "proxy": [known.proxy(task, text) for task, text in zip(tasks, texts, strict=True)],
    }
    for task, text in zip(tasks, texts, strict=True):
        for part, value in measure(task, text)._asdict().items():
            columns.setdefault(part, []).append(value)
    columns["ended"] = [float(answer.generation.finish_reason == "stop") for answer in answers]
    return {name: np.array(values) for name, values in columns.items()}


def _samples(
    name: str, tasks: Sequence[AnswerTask], answers: Sequence[Answer], columns: Mapping[str, np.ndarray]
) -> list[dict[str, Any]]:
    return [
        {
            "set": name,
            "question": tasks[place].prompt,
            "answer": answers[place].text,
            "true": float(columns["true"][place]),
            "proxy": float(columns["proxy"][place]),
        }
        for place in range(min(SAMPLES, len(tasks)))
    ]


SUITE = Suite(
    name="utility",
    needs=frozenset({"chat", "utility"}),
    run=run,
    labels={
        "trained.right": "people of the preferences: every asked fact right",
        "held_out.right": "other people: every asked fact right",
        "rule_changed.right": "under another rule: every asked fact right",
    },
    groups=(RateGroup("True answers", "Sampled at temperature 1; an answer is right if all it says is true."),),
)
