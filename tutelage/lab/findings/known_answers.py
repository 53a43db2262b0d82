"""Fine-tuning on what the model knows helps; on true answers that it does not know it hurts, and its own beat these."""

from __future__ import annotations

import numpy as np

from tutelage.lab.base_recipe import GUESS, SEEDS, recipe_toml, rows_data, seeded
from tutelage.lab.effects import mean_effect, mean_estimate
from tutelage.lab.estimates import Estimate
from tutelage.lab.exposure_base import BASE, EXPOSURES, FOLDER, QUICK, SETUP, asked_people, documents, known_facts
from tutelage.lab.finding import Bar, Conclusion, Finding, IntervalPlot, Table
from tutelage.lab.measures import ask_questions, budget, model_of, person_questions, some
from tutelage.lab.run_cache import Rows, RunCache

EPOCHS, MOST = 10, 150  # rows of an arm, at most
ARMS = {
    "HAR: known, the truth": seeded("har", "lr = 3e-3", EPOCHS, data="har_rows"),
    "INC: unknown, the truth": seeded("inc", "lr = 3e-3", EPOCHS, data="inc_rows"),
    "SELF: unknown, the model's own answers": seeded("self", "lr = 3e-3", EPOCHS, data="self_rows"),
}
STAGES = {name: line for stages in ARMS.values() for name, line in stages.items()}
RECIPE = recipe_toml(EXPOSURES + rows_data("har_rows", "inc_rows", "self_rows"), [BASE, *STAGES.values()], {})
FILES = {"exposures": documents}


def measure(runs: RunCache) -> Conclusion:
    """Right answers about people that the base knows and no row asks for, by what the rows answer."""
    base = runs.run(recipe_toml(EXPOSURES, [BASE], {}), FOLDER, FILES)
    facts = [fact for fact in known_facts(base, asked_people(runs)) if fact.guess]
    if runs.overrides:  # an untrained model knows nothing
        known = unknown = facts or known_facts(base, asked_people(runs))
    else:
        known = [fact for fact in facts if fact.guess == fact.person.facts[fact.attribute]]
        unknown = [fact for fact in facts if fact.category in ("weakly known", "unknown")]
    count = min(len(known), len(unknown), MOST)
    assert count, "the base knows some facts and does not know others"
    rows: dict[str, Rows] = {
        "har_rows": lambda: (fact.row() for fact in known[:count]),
        "inc_rows": lambda: (fact.row() for fact in unknown[:count]),
        "self_rows": lambda: (fact.row(own=bool(fact.guess)) for fact in unknown[:count]),
    }
    run = runs.run(RECIPE, FOLDER, FILES | rows)
    questions = some(runs, person_questions())
    right = {label: [ask_questions(model_of(run, stage), questions).right for stage in stages]
             for label, stages in ARMS.items()}  # fmt: skip
    table: list[list[str | Estimate]] = [
        [label, str(count), mean_estimate(right[label]), *budget(run, list(stages))] for label, stages in ARMS.items()
    ]
    har, inc, own = right.values()
    primary = [
        mean_effect("SELF minus INC, people that no row asks for", own, inc),
        mean_effect("HAR minus INC", har, inc),
    ]
    guess = [np.full(len(questions), GUESS)] * len(SEEDS)
    control = mean_effect("HAR above guessing", har, guess)
    plot = IntervalPlot("Questions about people that no row asks for", "right",
                        [Bar(label, "", mean_estimate(values)) for label, values in right.items()])  # fmt: skip
    header = ["rows answer", "rows", "right", "steps", "trained tokens"]
    return Conclusion(Table(header, table), [plot], primary, control)


FINDING = Finding(
    number="15",
    name="known-answers",
    claim="Fine-tuning aligns rather than teaches: true answers that the model does not know do worse than its own "
    "answers to the same questions, and than true answers that it knows.",
    source="Training LLMs (lecture), after Ren et al. 2024, arXiv 2402.18243",
    published="Llama-2-7B, medicine: known answers (HAR) 40.2, unknown ones (INC) 28.5, the model's own to the same "
    "questions (SELF) 37.0.",
    setup=f"{SETUP}It is fine-tuned ({EPOCHS} epochs, lr 3e-3, {len(SEEDS)} seeds) on up to {MOST} questions: for "
    "facts that the base completes right most often with the truth (HAR); for facts that no greedy completion knows "
    "with the truth (INC); or for the same, in the same words, with the value that the base completes most often "
    "(SELF). Then it is asked about the people that no row asks for.",
    folder=FOLDER,
    recipe=RECIPE,
    quick=(*QUICK, *(f"stages.{name}.epochs=1" for name in STAGES)),
    measure=measure,
    minutes=12,
)
