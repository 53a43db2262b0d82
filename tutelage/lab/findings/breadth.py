"""A few rows of many kinds beat many rows of one kind."""

from __future__ import annotations

import numpy as np

from tutelage.lab.base_recipe import DEMO, DEMO_QUICK, DEMO_SETUP, GUESS, SEEDS, recipe_toml, rows_data, sft_stage
from tutelage.lab.effects import mean_effect, mean_estimate
from tutelage.lab.estimates import Estimate
from tutelage.lab.finding import Bar, Conclusion, Finding, IntervalPlot, Table
from tutelage.lab.measures import ask_questions, budget, model_of, person_questions, some
from tutelage.lab.run_cache import RunCache
from tutelage.lab.world_rows import one_step_rows
from tutelage.world.values import ATTRIBUTES, Attribute

ROWS, MANY, STEPS = 50, 500, 30
UNSEEN: tuple[Attribute, ...] = ("role", "band")
KINDS = [name for name in ATTRIBUTES if name not in UNSEEN]
# The single kind is another one with every seed, so that the result does not depend on which kind it is.
SINGLE = {0: KINDS[0], 1: KINDS[2], 2: KINDS[4]}
FILES = {f"broad_{count}_rows": one_step_rows(KINDS, count) for count in (ROWS, MANY)}
FILES |= {f"deep_{seed}_{count}_rows": one_step_rows([kind], count) for seed, kind in SINGLE.items()
          for count in (ROWS, MANY)}  # fmt: skip
ARMS = {
    f"{len(KINDS)} kinds, {ROWS // len(KINDS)} rows each": [(f"broad_{ROWS}", seed) for seed in SEEDS],
    f"1 kind, {ROWS} rows": [(f"deep_{seed}_{ROWS}", seed) for seed in SEEDS],
    f"{len(KINDS)} kinds, {MANY // len(KINDS)} rows each": [(f"broad_{MANY}", seed) for seed in SEEDS],
    f"1 kind, {MANY} rows": [(f"deep_{seed}_{MANY}", seed) for seed in SEEDS],
}
NAMES = {label: [f"{data}_seed_{seed}" for data, seed in arm] for label, arm in ARMS.items()}
LINES = [
    sft_stage(f"{data}_seed_{seed}", f"seed = {seed}", data=f"{data}_rows", steps=STEPS)
    for arm in ARMS.values()
    for data, seed in arm
]
STAGES = [name for names in NAMES.values() for name in names]
RECIPE = recipe_toml(DEMO + rows_data(*FILES), LINES, {})


def measure(runs: RunCache) -> Conclusion:
    """Right answers about held-out people to kinds of questions that no arm trains, and to the kinds that some do."""
    run = runs.run(RECIPE, "demo", FILES)
    questions = person_questions()
    parts = {
        "unseen": some(runs, [question for question in questions if question.attribute in UNSEEN]),
        "seen": some(runs, [question for question in questions if question.attribute in KINDS]),
    }
    right: dict[str, dict[str, list[np.ndarray]]] = {
        part: {label: [ask_questions(model_of(run, name), asked).right for name in names]
               for label, names in NAMES.items()}
        for part, asked in parts.items()
    }  # fmt: skip
    table: list[list[str | Estimate]] = [
        [label, *(mean_estimate(right[part][label]) for part in parts), *budget(run, names)]
        for label, names in NAMES.items()
    ]
    broad, deep, many_broad, _ = NAMES
    primary = mean_effect(f"{ROWS} rows of {len(KINDS)} kinds minus 1, unseen kinds", right["unseen"][broad],
                          right["unseen"][deep])  # fmt: skip
    guess = [np.full(len(parts["seen"]), GUESS)] * len(SEEDS)
    control = mean_effect(f"{MANY} rows of {len(KINDS)} kinds, seen kinds, above guessing", right["seen"][many_broad],
                          guess)  # fmt: skip
    bars = [Bar(label, f"{part} kinds", mean_estimate(right[part][label])) for label in NAMES for part in parts]
    plot = IntervalPlot("Questions about held-out people", "right", bars)
    header = ["rows", "right, unseen kinds", "right, the other kinds", "steps", "trained tokens"]
    return Conclusion(Table(header, table), [plot], [primary], control)


FINDING = Finding(
    number="N2",
    name="breadth",
    claim="Breadth beats depth: 50 rows of many kinds teach more about kinds that no row has than 50 rows of one kind.",
    source="SFT from scratch (article)",
    published="Five prompts of each of ten kinds rather than fifty of one; no figures.",
    setup=f"{DEMO_SETUP}It is fine-tuned on {ROWS} questions about half of the people ({STEPS} steps of 2,048 "
    f"tokens, lr 3e-3, {len(SEEDS)} seeds) for {len(KINDS)} of their attributes, or for one of them, another one "
    f"with every seed; and on {MANY} questions each for as many steps. Then the other half of the people is asked "
    "for the two attributes that no row asks for.",
    folder="demo",
    recipe=RECIPE,
    quick=(*DEMO_QUICK, *(f"stages.{name}.steps=1" for name in STAGES)),
    measure=measure,
    minutes=6,
)
