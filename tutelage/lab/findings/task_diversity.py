"""More kinds of tasks generalise better to kinds that were never trained."""

from __future__ import annotations

from tutelage.lab.base_recipe import DEMO, DEMO_QUICK, DEMO_SETUP, GUESS, SEEDS, recipe_toml, rows_data, seeded
from tutelage.lab.effects import above, rate_effect
from tutelage.lab.estimates import Estimate, pooled
from tutelage.lab.finding import Conclusion, Finding, Line, LinePlot, Table
from tutelage.lab.run_cache import RunCache
from tutelage.lab.world_rows import one_step_questions, one_step_rows
from tutelage.world.values import ATTRIBUTES

ROWS = 1200
UNSEEN = ATTRIBUTES[4]  # the role: nobody's is ever asked for in training
KINDS = {k: [name for name in ATTRIBUTES if name != UNSEEN][:k] for k in (1, 2, 4, 6)}
STAGES_OF = {k: seeded(f"kinds_{k}", data=f"kinds_{k}_rows") for k in KINDS}
STAGES = {name: line for stages in STAGES_OF.values() for name, line in stages.items()}
RECIPE = recipe_toml(
    DEMO + rows_data("kinds_asked", *(f"kinds_{k}_rows" for k in KINDS)),
    STAGES.values(),
    {name: ["questions", "knowledge"] for name in STAGES},
)
FILES = {f"kinds_{k}_rows": one_step_rows(kinds, ROWS) for k, kinds in KINDS.items()}
FILES["kinds_asked"] = one_step_questions([UNSEEN], "held_out", each=3)


def measure(runs: RunCache) -> Conclusion:
    """Right answers to the kind of question that was never trained, by the number of kinds that were."""
    run = runs.run(RECIPE, "demo", FILES)
    names = ("questions.right", "knowledge.held_out")
    unseen, seen = ([pooled([run.outcomes(stage, name) for stage in s]) for s in STAGES_OF.values()] for name in names)
    rows: list[list[str | Estimate]] = [[str(k), a, b] for k, a, b in zip(KINDS, unseen, seen, strict=True)]
    kinds = [float(k) for k in KINDS]
    lines = [Line("the kind that is not trained", kinds, unseen), Line("all kinds", kinds, seen)]
    few, many = (list(STAGES_OF[k]) for k in (min(KINDS), max(KINDS)))
    name = f"{max(KINDS)} kinds minus 1, the kind that is not trained"
    primary = rate_effect(run, name, "questions.right", many, few)
    control = above(run, f"{max(KINDS)} kinds, all kinds, above guessing", "knowledge.held_out", many, GUESS)
    plot = LinePlot("Held-out people", "kinds of questions trained", "right", lines)
    header = ["kinds trained", "right, the kind that is not trained", "right, all kinds"]
    return Conclusion(Table(header, rows), [plot], [primary], control)


FINDING = Finding(
    number="6",
    name="task-diversity",
    claim="Fine-tuning on more kinds of tasks generalises better to kinds that were never trained.",
    source="Dataset and SFT; Training LLMs (lectures)",
    published="FLAN: 1,836 tasks; most of the gain comes with the first 282 (arXiv 2210.11416).",
    setup=f"{DEMO_SETUP}It is fine-tuned on {ROWS:,} questions about half of the people (3 epochs, lr 3e-3, "
    f"{len(SEEDS)} seeds) for 1, 2, 4 or 6 of their seven attributes: equal rows, equal steps. Then the other half "
    "of the people is asked for the attribute that no row asks for, in three wordings each. Right answers to all "
    "kinds are to questions of the demo.",
    folder="demo",
    recipe=RECIPE,
    quick=DEMO_QUICK,
    measure=measure,
    minutes=15,
)
