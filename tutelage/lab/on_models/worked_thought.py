"""Answering step by step against answering at once, by prompting, on a published checkpoint."""

from __future__ import annotations

import random
import re

import numpy as np

from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate.answers import continue_text
from tutelage.lab.effects import mean_estimate, split_effect
from tutelage.lab.estimates import Estimate
from tutelage.lab.finding import Bar, Conclusion, IntervalPlot, ModelMeasurement, Table
from tutelage.model.hub import Checkpoint

PROBLEMS, SHOTS = 150, 6
Terms = tuple[int, int, int]
AT_ONCE, STEPS, GIVEN = "at once", "step by step", "right steps given"


def problems() -> tuple[list[Terms], list[Terms]]:
    """Sums of three one-digit numbers: solved examples, and others to ask."""
    rng, found = random.Random(0), dict[Terms, None]()
    while len(found) < SHOTS + PROBLEMS:
        found[rng.randint(1, 9), rng.randint(1, 9), rng.randint(1, 9)] = None
    terms = list(found)
    return terms[:SHOTS], terms[SHOTS:]


def steps(terms: Terms) -> str:
    """The sum worked out: that of the first two, then of all."""
    first, second, third = terms
    return f"{first} + {second} = {first + second}, {first + second} + {third} = {sum(terms)}. "


def prompt(examples: list[Terms], terms: Terms, way: str) -> str:
    """A question after solved ones, which work the answer out or not; where the steps are given, after these."""
    shown = "".join(
        f"{asked(one)} {'' if way == AT_ONCE else steps(one)}The answer is {sum(one)}.\n\n" for one in examples
    )
    return f"{shown}{asked(terms)}{f' {steps(terms)}The answer is' if way == GIVEN else ''}"


def asked(terms: Terms) -> str:
    """The question, and where its answer begins."""
    return f"Question: What is {' + '.join(map(str, terms))}?\nAnswer:"


def stated(text: str) -> int | None:
    """The number after "The answer is" at the end of a first line; None where there is none."""
    found = re.fullmatch(r".*The answer is (\d+)\.", text.strip().partition("\n")[0].strip())
    return int(found[1]) if found else None


def measure(model: Checkpoint, quick: bool) -> Conclusion:
    """Right sums, and answers that state a number as the examples do, by the way of answering."""
    examples, questions = problems()
    questions = questions[:6] if quick else questions
    right: dict[str, np.ndarray] = {}
    table: list[list[str | Estimate]] = []
    for way in (AT_ONCE, STEPS, GIVEN):
        prompts = [prompt(examples, terms, way) for terms in questions]
        answers = continue_text(model, prompts, SamplingSettings(max_tokens=5 if way == GIVEN else 40), way)
        opening = "The answer is" if way == GIVEN else ""
        numbers = [stated(opening + answer.text) for answer in answers]
        right[way] = np.array([number == sum(terms) for number, terms in zip(numbers, questions, strict=True)], float)
        formed = np.array([number is not None for number in numbers], float)
        table.append([way, mean_estimate([right[way]]), mean_estimate([formed])])
    primary = split_effect(f"{STEPS} minus {AT_ONCE}", right[STEPS], right[AT_ONCE])
    control = split_effect(f"{GIVEN} minus {AT_ONCE}", right[GIVEN], right[AT_ONCE])
    plot = IntervalPlot("Sums of three numbers", "right", [Bar(way, "", mean_estimate([right[way]])) for way in right])
    return Conclusion(Table(["answered", "right", "states a number"], table), [plot], [primary], control)


MEASUREMENT = ModelMeasurement(
    number="21",
    claim="A model that is prompted to work the answer out is right more often than one that answers at once.",
    source="Dataset and SFT (lecture); Wei et al. 2022, arXiv 2201.11903",
    published="PaLM 540B on GSM8K: 17.9 at once, 56.9 with steps. Models below 10B gain nothing.",
    setup=f"{PROBLEMS} sums of three one-digit numbers follow the same {SHOTS} solved ones, as plain text: each solved "
    "one states the answer alone, or the two sums before it. Greedy; an answer counts if its first line ends as the "
    "examples do. As a control the right steps are given, and only the answer is to be written. Intervals are over "
    "sums, paired.",
    measure=measure,
)
