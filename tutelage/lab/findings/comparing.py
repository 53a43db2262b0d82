"""Comparing two answers is easier than writing the right one."""

from __future__ import annotations

import math

import numpy as np

from tutelage.evaluate.answers import ANSWER, ask_text
from tutelage.lab.base_recipe import DEMO, DEMO_QUICK, DEMO_SETUP, GUESS, PLAIN, SEEDS, recipe_toml, seeded
from tutelage.lab.effects import above, mean_effect, mean_estimate
from tutelage.lab.estimates import Estimate
from tutelage.lab.finding import Bar, Conclusion, Finding, IntervalPlot, Table
from tutelage.lab.measures import reply_logprobs
from tutelage.lab.run_cache import FinishedRun, RunCache
from tutelage.lab.world_rows import demo_world
from tutelage.model.hub import load_model
from tutelage.world.keyed_random import KeyedRandom
from tutelage.world.people import words
from tutelage.world.tasks import names_value
from tutelage.world.values import ATTRIBUTES, VALUES, with_article
from tutelage.world.wordings import ANSWERS, ONE_STEP

ASKED = 350
STAGES = seeded(PLAIN)
RECIPE = recipe_toml(DEMO, STAGES.values(), {name: ["format", "knowledge"] for name in STAGES})


def items(count: int) -> list[tuple[str, str, str, str]]:
    """Questions about held-out people: prompt, value, the right reply, and the same reply with another value."""
    found = []
    for person in demo_world().people("held_out"):
        for attribute in ATTRIBUTES:
            rng = KeyedRandom("lab comparing", person.index, attribute)
            prompt, reply = rng.choice(ONE_STEP[attribute]), rng.choice(ANSWERS[attribute])
            value = person.facts[attribute]
            other = rng.choice([one for one in VALUES[attribute] if one != value])
            slots = words(person, "full")
            wrong = slots | {str(attribute): other} | ({"a_role": with_article(other)} if attribute == "role" else {})
            found.append((prompt.format(name=person.name), value, reply.format_map(slots), reply.format_map(wrong)))
    return KeyedRandom("lab comparing").shuffled(found)[:count]


def written_and_compared(run: FinishedRun, stage: str, asked: list[tuple[str, str, str, str]]) -> np.ndarray:
    """Whether each question is answered right, and whether the right reply is likelier: float64 [2, questions]."""
    checkpoint = load_model(run.run.folder / stage)
    prompts, values, right, wrong = (list(column) for column in zip(*asked, strict=True))
    answers = ask_text(checkpoint, prompts, ANSWER, f"answers of {stage}")
    written = [
        names_value(answer.text, value).outcome == "right" for answer, value in zip(answers, values, strict=True)
    ]
    gap = reply_logprobs(checkpoint, list(zip(prompts, right, strict=True)))
    gap -= reply_logprobs(checkpoint, list(zip(prompts, wrong, strict=True)))
    return np.array([np.array(written, np.float64), gap > 0])


def bits(right: float) -> float:
    """What the outcome of a fair comparison that is right so often tells, in bits: 1 - H(right)."""
    if right in (0.0, 1.0):
        return 1.0
    return 1 + right * math.log2(right) + (1 - right) * math.log2(1 - right)


def measure(runs: RunCache) -> Conclusion:
    """Right answers, right comparisons, and the comparisons that the right answers alone would imply."""
    run = runs.run(RECIPE, "demo")
    asked = items(6 if runs.overrides else ASKED)
    found = [written_and_compared(run, stage, asked) for stage in STAGES]
    written, compared = [one[0] for one in found], [one[1] for one in found]
    implied = [one + (1 - one) / 2 for one in written]
    unknown = [np.where(one[0] > 0, 0.5, one[1]) for one in found]
    right, ranked, baseline = (mean_estimate(one) for one in (written, compared, implied))
    rows: list[list[str | Estimate]] = [
        ["writes the right value", right, f"{GUESS:.1%}", ""],
        ["finds the right reply likelier", ranked, "50%", f"{bits(ranked.value):.2f}"],
        ["comparisons if it knew only what it writes", baseline, "", f"{bits(baseline.value):.2f}"],
        ["comparisons right, of what it writes wrong; others count a half", mean_estimate(unknown), "50%", ""],
    ]
    primary = mean_effect("comparisons right, beyond what right answers imply", compared, implied)
    control = above(run, "questions right above guessing", "knowledge.held_out", list(STAGES), GUESS)
    bars = [Bar(str(label), "", estimate) for label, estimate, *_ in rows[:3] if isinstance(estimate, Estimate)]
    plot = IntervalPlot("Questions about held-out people", "right", bars)
    return Conclusion(Table(["the model", "right", "chance", "bits a comparison"], rows), [plot], [primary], control)


FINDING = Finding(
    number="33",
    name="comparing",
    claim="Comparing answers is easier than writing them: a model ranks answers right that it cannot write.",
    source="SFT from scratch (article), on InstructGPT",
    published="13,000 demonstrations, 33,000 rankings of 4 to 9 answers, 40 labellers; no figures of models.",
    setup=f"{DEMO_SETUP}It is fine-tuned on conversations about half of the people (3 epochs, lr 3e-3, {len(SEEDS)} "
    f"seeds). {ASKED} questions about the other half: it answers greedily, and the likelihood of the right reply is "
    "compared with that of the same reply with another value. Whoever knows a share p of the answers and draws lots "
    "otherwise ranks p + (1 - p) / 2 right; what counts is what lies above. This is about models; that people find "
    "ranking easier cannot be shown here.",
    folder="demo",
    recipe=RECIPE,
    quick=DEMO_QUICK,
    measure=measure,
    minutes=4,
)
