"""The same questions in several prompt formats, on a published checkpoint."""

from __future__ import annotations

import random

import numpy as np

from tutelage.evaluate.answers import can_chat
from tutelage.evaluate.choice_items import ChoiceItem
from tutelage.evaluate.prompt_formats import formats, pick, scores_in
from tutelage.lab.draws import drawn_effect
from tutelage.lab.effects import mean_estimate, split_effect
from tutelage.lab.estimates import Estimate
from tutelage.lab.finding import Bar, Conclusion, IntervalPlot, ModelMeasurement, Table
from tutelage.lab.findings.wording_and_leaks import beyond_chance
from tutelage.model.hub import Checkpoint

ITEMS, PARTS = 60, 3
NAMES = ("Ann", "Bob", "Clara", "David", "Emma", "Frank", "Grace", "Henry", "Laura", "Peter")
TOWNS = ("Oslo", "Rome", "Paris", "London", "Madrid", "Berlin", "Vienna", "Dublin", "Prague", "Athens")
NO_LABELS = "no labels"


def items() -> list[ChoiceItem]:
    """Questions about a person whose town is stated before; the right choice stands first in half of them."""
    found = []
    for number in range(ITEMS):
        rng = random.Random(number)
        name, (town, other) = rng.choice(NAMES), rng.sample(TOWNS, 2)
        gold = number % 2
        choices = (other, town) if gold else (town, other)
        found.append(ChoiceItem(str(number), f"{name} lives in {town}. Where does {name} live?", choices, gold))
    return found


def measure(model: Checkpoint, quick: bool) -> Conclusion:
    """The score of the same questions in each format, and the spread of the scores beyond that of permuted ones."""
    asked = items()[:12] if quick else items()
    right = {}
    for form in formats(asked, can_chat(model)):
        scores = scores_in(model, form, asked, asked)
        right[form.name] = np.array([pick(form, scores[item.id]) == item.gold for item in asked], np.float64)
    outcomes_FN = np.array(list(right.values()))
    chance = beyond_chance(outcomes_FN, seed=0)
    by_part = [float(beyond_chance(outcomes_FN[:, part::PARTS], seed=part).mean()) for part in range(PARTS)]
    effect = "spread over formats beyond permuted ones"
    primary = drawn_effect(effect, float(chance.mean()), chance, by_part, least=0.01, kind="points")
    guessed = np.full(len(asked), 0.5)
    control = split_effect(f"{NO_LABELS}, right above guessing", right[NO_LABELS], guessed)
    means = {name: mean_estimate([one]) for name, one in right.items()}
    rows: list[list[str | Estimate]] = [[name, mean] for name, mean in means.items()]
    plot = IntervalPlot("The same questions by format", "right", [Bar(name, "", mean) for name, mean in means.items()])
    return Conclusion(Table(["format", "right"], rows), [plot], [primary], control)


MEASUREMENT = ModelMeasurement(
    number="29",
    claim="Scores move with the wording of the prompt.",
    source="LLM pipeline (lecture); Sclar et al. 2023, arXiv 2310.11324",
    published="Formats alone move accuracy by up to 76 points (LLaMA-2-13B).",
    setup=f"{ITEMS} questions with two choices follow the fact that answers them: where a person lives. They are "
    "asked in the fixed set of formats of `tutelage evaluate --formats`, and the likeliest choice counts; guessing is "
    "right in half. The highest score is always above the lowest, so the spread (standard deviation) of the formats' "
    "scores is compared with that of outcomes permuted over the formats within each question.",
    measure=measure,
)
