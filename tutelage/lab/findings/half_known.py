"""Rows about facts that the model half knows help most; rows about facts that it does not know hurt, the longer the
more."""

from __future__ import annotations

import numpy as np

from tutelage.lab.base_recipe import SEEDS, recipe_toml, rows_data, seeded
from tutelage.lab.effects import mean_effect, mean_estimate
from tutelage.lab.estimates import Estimate
from tutelage.lab.exposure_base import (
    BASE,
    CATEGORIES,
    EXPOSURES,
    FOLDER,
    QUICK,
    SETUP,
    KnownFact,
    asked_people,
    documents,
    known_facts,
)
from tutelage.lab.finding import Conclusion, Finding, Line, LinePlot, Table
from tutelage.lab.measures import ask_questions, budget, model_of, person_questions, some
from tutelage.lab.run_cache import Rows, RunCache
from tutelage.world.values import ATTRIBUTES

MOST, STEPS, EVERY = 150, 64, 8  # rows of a class, at most; steps, and steps between two that are kept
LOOKS = (8, 16, 32, STEPS)
SHORT = {name: name.split()[0] for name in CATEGORIES}
KEPT = f"lr = 3e-3, save_every = {EVERY}, keep_checkpoints = {STEPS}"
STAGES_OF = {
    name: seeded(f"only_{short}", KEPT, data=f"only_{short}_rows", steps=STEPS) for name, short in SHORT.items()
}
STAGES = {name: line for stages in STAGES_OF.values() for name, line in stages.items()}
NAMES = [f"only_{short}_rows" for short in SHORT.values()]
RECIPE = recipe_toml(EXPOSURES + rows_data(*NAMES), [BASE, *STAGES.values()], {})
FILES: dict[str, Rows] = {"exposures": documents}


def balanced(facts: list[KnownFact]) -> dict[str, list[KnownFact]]:
    """Equally many facts of each class, as far as there are, and of each attribute in all classes but the rarest."""
    by_class = {name: [fact for fact in facts if fact.category == name] for name in CATEGORIES}
    rare = min(by_class, key=lambda name: len(by_class[name]))
    chosen: dict[str, list[KnownFact]] = {name: [] for name in CATEGORIES}
    for attribute in ATTRIBUTES:
        own = {name: [fact for fact in found if fact.attribute == attribute] for name, found in by_class.items()}
        count = min(MOST // len(ATTRIBUTES), *(len(own[name]) for name in CATEGORIES if name != rare))
        for name in CATEGORIES:
            chosen[name] += own[name][:count]
    return chosen


def measure(runs: RunCache) -> Conclusion:
    """Right answers about people that no row asks for along training, by how well the base knows what the rows ask.
    The early stop is chosen on every second question and reported on the others."""
    facts = known_facts(runs.run(recipe_toml(EXPOSURES, [BASE], {}), FOLDER, FILES), asked_people(runs))
    chosen = dict.fromkeys(CATEGORIES, facts[:8]) if runs.overrides else balanced(facts)
    rows = {f"only_{SHORT[name]}_rows": _rows(chosen[name]) for name in CATEGORIES}
    run = runs.run(RECIPE, FOLDER, FILES | rows)
    questions = some(runs, person_questions())
    looks = [run.summary[f"stages.only_{SHORT['unknown']}.steps"]] if runs.overrides else list(LOOKS)
    right = {
        name: [
            np.array([ask_questions(model_of(run, _kept(stage, step, looks[-1])), questions).right for step in looks])
            for stage in stages
        ]
        for name, stages in STAGES_OF.items()
    }
    early, late = {}, {}
    for name, by_seed in right.items():
        best = int(np.argmax(np.mean([one[:, ::2].mean(axis=1) for one in by_seed], axis=0)))
        early[name], late[name] = ([one[place, 1::2] for one in by_seed] for place in (best, -1))
    table: list[list[str | Estimate]] = [
        [name, str(len(chosen[name])), mean_estimate(early[name]), mean_estimate(late[name]),
         *budget(run, list(STAGES_OF[name]))]
        for name in CATEGORIES
    ]  # fmt: skip
    lines = [
        Line(name, [float(step) for step in looks],
             [mean_estimate([one[place] for one in right[name]]) for place in range(len(looks))])
        for name in CATEGORIES
    ]  # fmt: skip
    primary = [
        mean_effect("unknown, early stop minus convergence", early["unknown"], late["unknown"]),
        mean_effect("early stop, maybe known minus unknown", early["maybe known"], early["unknown"]),
        mean_effect("convergence, maybe known minus unknown", late["maybe known"], late["unknown"]),
    ]
    guess = [np.full(early["highly known"][0].shape, 0.1)] * len(SEEDS)
    control = mean_effect("highly known, early stop, right above 10%", early["highly known"], guess)
    plot = LinePlot("Questions about people that no row asks for", "step", "right", lines, log_x=True)
    header = ["rows ask for", "rows", "right, early stop", "right, convergence", "steps", "trained tokens"]
    return Conclusion(Table(header, table), [plot], primary, control)


def _rows(facts: list[KnownFact]) -> Rows:
    return lambda: (fact.row() for fact in facts)


def _kept(stage: str, step: int, last: int) -> str:
    """The folder of a step: that of the last is the stage's own."""
    return stage if step == last else f"{stage}@{step}"


FINDING = Finding(
    number="8",
    name="half-known",
    claim="Fine-tuning on facts that the model half knows helps most; on facts that it does not know it hurts, and "
    "the longer the more.",
    source="Training LLMs; Dataset and SFT (lectures), after Gekhman et al. 2024, arXiv 2405.05904",
    published="PaLM 2-M, exact match at the early stop and at convergence: maybe known 43.6, unknown 37.5 and 25.8; "
    "a natural mix 43.5 and 41.8.",
    setup=f"{SETUP}It is fine-tuned ({STEPS} steps of 2,048 tokens, lr 3e-3, {len(SEEDS)} seeds) on up to {MOST} "
    "facts of one class, as many of each attribute; about 30 epochs. The early stop is "
    f"the step, of {len(LOOKS)}, with the most right answers to every second question about the people that no row "
    "asks for; the others are reported. Other people are asked about than the classes were measured on, so that no "
    "class regresses to the mean.",
    folder=FOLDER,
    recipe=RECIPE,
    quick=(*QUICK, *(f"stages.{name}.steps=1" for name in STAGES)),
    measure=measure,
    minutes=15,
)
