"""The base model answers already, sometimes."""

from __future__ import annotations

import numpy as np

from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate.answers import continue_text
from tutelage.evaluate.pass_at_k import pass_at_k
from tutelage.lab.base_recipe import DEMO, DEMO_QUICK, DEMO_SETUP, GUESS, PLAIN, SEEDS, recipe_toml, seeded
from tutelage.lab.effects import above, mean_effect, mean_estimate
from tutelage.lab.estimates import Estimate
from tutelage.lab.finding import Conclusion, Finding, Line, LinePlot, Table
from tutelage.lab.run_cache import FinishedRun, RunCache
from tutelage.lab.world_rows import one_step_questions
from tutelage.model.hub import load_model
from tutelage.world.tasks import names_value
from tutelage.world.values import ATTRIBUTES

ASKED, SAMPLES = 150, 32
BUDGETS = (1, 2, 4, 8, 16, 32)
STAGES = seeded(PLAIN)
RECIPE = recipe_toml(DEMO, STAGES.values(), {name: ["format", "knowledge"] for name in STAGES})
PROMPT = "Question: {question}\nAnswer:"


def sampled(run: FinishedRun, seed: int, count: int, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """How many samples of the base are right about each question, int64 [questions], and how many name instead the
    value of the next person who is asked about, which only guessing can hit."""
    asked = [row for attribute in ATTRIBUTES[:3] for row in one_step_questions([attribute], "held_out")()]
    rows = asked[:: max(1, len(asked) // count)][:count]
    prompts = [PROMPT.format(question=row["question"]) for row in rows for _ in range(samples)]
    settings = SamplingSettings(max_tokens=24, temperature=0.7, seed=seed)
    texts = [one.text for one in continue_text(load_model(run.run.folder / "base"), prompts, settings, "samples")]
    right, others = [], []
    for number, row in enumerate(rows):
        same = [one for one in rows if one["set"] == row["set"] and one["answer"] != row["answer"]]
        other = same[number % len(same)] if same else row
        own = texts[number * samples : (number + 1) * samples]
        right.append(sum(names_value(text, str(row["answer"])).outcome == "right" for text in own))
        others.append(sum(names_value(text, str(other["answer"])).outcome == "right" for text in own))
    return np.array(right), np.array(others)


def measure(runs: RunCache) -> Conclusion:
    """Whether any of k samples is right, and whether any hits another person's value."""
    run = runs.run(RECIPE, "demo")
    count, samples = (4, 4) if runs.overrides else (ASKED, SAMPLES)
    found = [sampled(run, seed, count, samples) for seed in SEEDS]
    budgets = [k for k in BUDGETS if k <= samples]

    def passed(place: int, k: int) -> list[np.ndarray]:
        return [np.array([pass_at_k(samples, n, k) for n in one[place].tolist()]) for one in found]

    own, others = ({k: passed(place, k) for k in budgets} for place in (0, 1))
    table: list[list[str | Estimate]] = [[str(k), mean_estimate(own[k]), mean_estimate(others[k])] for k in budgets]
    lines = [
        Line(name, [float(k) for k in budgets], [mean_estimate(rates[k]) for k in budgets])
        for name, rates in (("the right value", own), ("another person's value", others))
    ]
    most = budgets[-1]
    primary = mean_effect(f"any of {most} right, minus any of {most} another person's", own[most], others[most])
    control = above(run, "fine-tuned, questions right above guessing", "knowledge.held_out", list(STAGES), GUESS)
    plot = LinePlot("Questions to the base model as plain text", "samples", "any is right", lines, log_x=True)
    header = ["samples", "any is right", "any names another person's value"]
    return Conclusion(Table(header, table), [plot], [primary], control)


FINDING = Finding(
    number="N23",
    name="base-sometimes",
    claim="A base model answers questions already, sometimes: one of many samples is right.",
    source="Training LLMs (lecture)",
    published="No figures; base models answer in between continuations of the question.",
    setup=f"{DEMO_SETUP}Its text has no question about a person. {ASKED} questions about held-out people are put as "
    f"plain text ('Question: ... Answer:'), and {SAMPLES} continuations drawn at temperature 0.7, with {len(SEEDS)} "
    "seeds of sampling. Of so many samples some hit a value by guessing, so the same samples are compared with the "
    "value of another person. Intervals are over questions.",
    folder="demo",
    recipe=RECIPE,
    quick=DEMO_QUICK,
    measure=measure,
    minutes=6,
)
